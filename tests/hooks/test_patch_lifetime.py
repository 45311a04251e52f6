"""A patch leaves nothing behind, whatever happens inside it, and never touches another model or thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import eager_oracle
import pytest
import tiny_families
import torch
from tiny_families import random_ids
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iclprobe import CapturePlan, UserError, capture, patch, tap
from iclprobe.hooks.plan import SITES

one_of_each_route = pytest.mark.parametrize("name", ["llama", "gptj", "falcon"])
B = torch.tensor([random_ids(12, 3), random_ids(12, 5)])


@pytest.fixture(autouse=True)
def registry_is_left_alone() -> Iterator[None]:
    before = {name: ALL_ATTENTION_FUNCTIONS.get(name) for name in (*ALL_ATTENTION_FUNCTIONS, "eager")}
    local = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)
    yield
    assert all(ALL_ATTENTION_FUNCTIONS.get(name) is entry for name, entry in before.items())
    assert dict(ALL_ATTENTION_FUNCTIONS._local_mapping) == local
    assert torch.overrides._get_current_function_mode_stack() == []


def plan_of(name: str) -> CapturePlan:
    sites: Any = tuple(site for site in SITES if site != "residual_middle" or name == "llama")
    return CapturePlan(sites=sites, positions=(2, -1))


def state_of(model: torch.nn.Module) -> tuple[Any, ...]:
    hooks = [
        (len(each._forward_hooks), len(each._forward_pre_hooks), len(each._forward_hooks_always_called))
        for each in model.modules()
    ]
    return hooks, [type(each) for each in model.modules()], list(model.state_dict()), list(vars(model))


def logits(model: Any, ids: Tensor = B) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def halved(site: str, layer: int, computed: Tensor) -> Tensor:
    return computed * 0.5


class Interrupted(Exception):
    pass


@one_of_each_route
def test_everything_is_as_it_was_on_leaving(name: str) -> None:
    model = tiny_families.build(name)
    before, state, weights = logits(model), state_of(model), [each.clone() for each in model.parameters()]
    with patch(model, plan_of(name), halved):
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before)
    assert state_of(model) == state
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), weights, strict=True))


@one_of_each_route
@pytest.mark.parametrize("site", ["residual_before", "queries", "pattern", "mlp_output"])
def test_a_function_that_raises_leaves_nothing_behind(name: str, site: Any) -> None:
    model = tiny_families.build(name)
    before, state, fails = logits(model), state_of(model), True

    def failing(site: str, layer: int, computed: Tensor) -> Tensor:
        if layer == 1 and fails:
            raise Interrupted
        return computed * 0.5

    plan = CapturePlan(sites=(site,))
    with pytest.raises(Interrupted), patch(model, plan, failing):
        logits(model)
    assert state_of(model) == state
    assert torch.equal(logits(model), before)
    with patch(model, plan, failing):
        with pytest.raises(Interrupted):
            logits(model)
        # The next forward is patched as if nothing had been.
        fails = False
        again = logits(model)
    with patch(model, plan, halved):
        assert torch.equal(logits(model), again)


@one_of_each_route
def test_taps_and_patches_end_in_any_order(name: str) -> None:
    model = tiny_families.build(name)
    plain, state, plan = logits(model), state_of(model), plan_of(name)
    with patch(model, plan, halved):
        wanted = logits(model)
    first, second, third = patch(model, plan, halved), tap(model, plan), patch(model, plan, halved)
    first.__enter__()
    recorder = second.__enter__()
    third.__enter__()
    assert not torch.equal(logits(model), wanted)
    first.__exit__(None, None, None)
    assert torch.equal(logits(model), wanted)
    second.__exit__(None, None, None)
    assert torch.equal(logits(model), wanted)
    third.__exit__(None, None, None)
    assert torch.equal(logits(model), plain)
    assert recorder.capture().n == 4
    assert state_of(model) == state


@one_of_each_route
def test_another_model_of_the_family_is_not_changed(name: str) -> None:
    patched, other = tiny_families.build(name), tiny_families.build(name, seed=1)
    alone, state = logits(other), state_of(other)
    with patch(patched, plan_of(name), halved):
        assert torch.equal(logits(other), alone)
        assert state_of(other) == state
        changed = logits(patched)
        with patch(other, plan_of(name), halved):
            assert torch.equal(logits(patched), changed)
            assert not torch.equal(logits(other), alone)


@one_of_each_route
def test_other_threads_run_the_model_as_it_is_and_may_not_patch_it(name: str) -> None:
    model = tiny_families.build(name)
    alone, found, refused = logits(model), [], []

    def elsewhere() -> None:
        found.append(logits(model))
        try:
            with patch(model, plan_of(name), halved):
                pass
        except UserError as error:
            refused.append(str(error))

    with patch(model, plan_of(name), halved):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert not torch.equal(logits(model), alone)
    assert torch.equal(found[0], alone)
    assert len(refused) == 1 and "a patch" in refused[0]


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_two_hundred_patched_forwards_keep_nothing(name: str) -> None:
    model = tiny_families.build(name)
    plan, ids = plan_of(name), B[:, :6]
    with patch(model, plan, halved):
        for _ in range(5):
            logits(model, ids)
        gc.collect()
        tensors = _tensors()
        for _ in range(200):
            logits(model, ids)
        gc.collect()
        assert _tensors() <= tensors
    for _ in range(50):
        with patch(model, CapturePlan(sites=("queries",)), halved):
            logits(model, ids)
    gc.collect()
    assert _tensors() <= tensors


def _tensors() -> int:
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


@one_of_each_route
def test_a_layer_that_does_not_run_is_noticed(name: str) -> None:
    model: Any = tiny_families.fresh(name)
    layers = model.get_submodule(eager_oracle.layout_of(model).layers)
    layers[1].forward = lambda hidden_states, *args, **kwargs: (
        hidden_states if name == "llama" else (hidden_states, None)
    )
    for site in ("attention_output", "queries", "pattern", "mlp_input"):
        with (
            pytest.raises(UserError, match=f"layer 1 .* wrote no {site}"),
            patch(model, CapturePlan(sites=(site,)), halved),
        ):
            logits(model)


@one_of_each_route
@pytest.mark.parametrize("site", ["scores", "keys", "residual", "head_output"])
def test_a_layer_that_runs_twice_is_noticed(name: str, site: Any) -> None:
    model: Any = tiny_families.fresh(name)
    layer: Any = eager_oracle.decoder_layers(model)[1]
    original = layer.forward

    def twice(*args: Any, **kwargs: Any) -> Any:
        layer.forward = original
        layer(*args, **kwargs)
        return original(*args, **kwargs)

    layer.forward = twice
    with (
        pytest.raises(UserError, match=f"layer 1 .* wrote {site} twice"),
        patch(model, CapturePlan(sites=(site,)), halved),
    ):
        logits(model)


def test_queries_that_a_module_does_not_multiply_by_keys_are_noticed() -> None:
    """A product of the same shape before the one with the keys."""
    model: Any = tiny_families.fresh("gptj")
    attention: Any = model.transformer.h[1].attn
    original = attention._attn

    def otherwise(query: Tensor, key: Tensor, *others: Any, **more: Any) -> Any:
        torch.matmul(key, query.transpose(-1, -2))
        return original(query, key, *others, **more)

    attention._attn = otherwise
    with (
        pytest.raises(UserError, match=r"layer 1 .* wrote queries twice"),
        patch(model, CapturePlan(sites=("queries",)), halved),
    ):
        logits(model)


def test_queries_whose_product_is_not_what_the_softmax_is_given_are_noticed() -> None:
    """Another product stands between, so that a tap sees none either."""
    model: Any = tiny_families.fresh("gptj")
    attention: Any = model.transformer.h[1].attn
    original = attention._attn

    def otherwise(query: Tensor, key: Tensor, value: Tensor, *others: Any, **more: Any) -> Any:
        weights = torch.matmul(query, key.transpose(-1, -2)) / query.shape[-1] ** 0.5
        weights = torch.matmul(torch.ones(1, 1), weights.flatten()[None]).view(weights.shape)
        return torch.matmul(weights.softmax(dim=-1), value), weights

    attention._attn = otherwise
    plan = CapturePlan(sites=("queries",))
    with pytest.raises(UserError, match=r"layer 1 .* recorded no queries"), tap(model, plan):
        logits(model)
    with (
        pytest.raises(UserError, match=r"layer 1 .* not what the softmax is made of"),
        patch(model, plan, halved),
    ):
        logits(model)
    attention._attn = original
    with patch(model, plan, halved):
        logits(model)


def test_forwards_of_a_part_of_the_model_are_not_patched() -> None:
    model: Any = tiny_families.build("llama")
    with torch.no_grad():
        alone = model.base_model(input_ids=B).last_hidden_state
        with patch(model, plan_of("llama"), halved):
            assert torch.equal(model.base_model(input_ids=B).last_hidden_state, alone)


def test_captures_before_and_after_a_patch_are_the_same() -> None:
    model = tiny_families.build("llama")
    prompts = tiny_families.prompts("llama")
    before: Any = capture(model, prompts, plan_of("llama"))
    with patch(model, plan_of("llama"), halved):
        logits(model)
    after: Any = capture(model, prompts, plan_of("llama"))
    assert all(torch.equal(getattr(before, site), getattr(after, site)) for site in SITES)
