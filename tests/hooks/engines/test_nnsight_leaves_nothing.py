"""After nnsight ran a model the model is what it was; what was swapped into it is seen."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
import tiny_families
import torch
from engine_parity import CALL, EXACT, plan_of, prompts_of, worst
from model_snapshot import assert_as_it_was, snapshot
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture, stream
from iclprobe.hooks.engines.nnsight import NNsightEngine
from iclprobe.hooks.resolved_plan import resolve_plan
from iclprobe.models.delta import Delta
from iclprobe.models.forward_signature import forward_signature
from iclprobe.models.loading import load_model

nnsight: Any = pytest.importorskip("nnsight")
EVERYTHING = plan_of(*CALL, "queries", "residual_before", "mlp_output")


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=torch.tensor([tiny_families.random_ids(20, 3)])).logits


def state_of(module: torch.nn.Module) -> dict[str, Any]:
    parts = dict(module.named_modules())
    return {
        "modules": {name: id(part) for name, part in parts.items()},
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "hooks": {
            name: len(part._forward_hooks) + len(part._forward_pre_hooks) for name, part in parts.items()
        },
        "state": list(module.state_dict()),
        "registry": dict(ALL_ATTENTION_FUNCTIONS._local_mapping),
        "attention": module.config._attn_implementation,  # type: ignore[union-attr]
        "threads": threading.active_count(),
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "gemma2"])
def test_a_capture_leaves_the_module_as_it_was(name: str) -> None:
    module: Any = tiny_families.fresh(name)
    before, tensors, said = state_of(module), snapshot(module), logits(module)
    capture(module, prompts_of(name, labels=True), EVERYTHING, engine="nnsight")
    assert state_of(module) == before
    assert_as_it_was(module, tensors)
    assert torch.equal(logits(module), said)


def test_what_fails_in_the_middle_leaves_the_module_as_it_was() -> None:
    module: Any = tiny_families.fresh("llama")
    before = state_of(module)
    handle = module.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        capture(module, prompts_of("llama"), EVERYTHING, engine="nnsight")
    handle.remove()
    batches = stream(module, prompts_of("llama"), EVERYTHING, batch_size=1, engine="nnsight")
    next(batches)
    batches.close()
    assert state_of(module) == before
    found = worst(
        *(capture(module, prompts_of("llama"), EVERYTHING, engine=e) for e in ("native", "nnsight"))
    )
    assert max(found.values()) <= EXACT


def test_weights_are_held_once() -> None:
    model = load_model(tiny_families.build("gpt_oss"))
    with NNsightEngine().open(resolve_plan(EVERYTHING, model)) as opened:
        twin = opened.model.module
        assert twin is not model.module
        for kind in ("parameters", "buffers"):
            own, others = (list(getattr(each, kind)()) for each in (model.module, twin))
            assert len(own) == len(others) and all(
                one is other for one, other in zip(own, others, strict=True)
            )


def test_what_is_swapped_in_is_seen_by_the_next_capture() -> None:
    model = load_model(tiny_families.fresh("llama"))
    weight = "model.layers.0.self_attn.q_proj.weight"
    delta = Delta({weight: model.module.get_parameter(weight).detach() * 1.5})
    plan, prompts = plan_of("scores"), prompts_of("llama")
    before = capture(model, prompts, plan, engine="nnsight").scores
    with delta.applied(model):
        native, through = (capture(model, prompts, plan, engine=e) for e in ("native", "nnsight"))
        assert max(worst(native, through).values()) <= EXACT
        assert before is not None and through.scores is not None and not torch.equal(before, through.scores)
    after = capture(model, prompts, plan, engine="nnsight").scores
    assert after is not None and torch.equal(after, before)


def test_hooks_of_the_users_act_in_the_copy_too() -> None:
    module: Any = tiny_families.fresh("llama")

    class Steering:
        seen = 0

        def add(self, layer: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            self.own, self.seen = threading.Lock(), self.seen + 1
            return output + 1.0

    steering = Steering()
    module.model.layers[0].register_forward_hook(steering.add)
    prompts, before = prompts_of("llama"), capture(module, prompts_of("llama"), EVERYTHING)
    seen = steering.seen
    through = capture(module, prompts, EVERYTHING, engine="nnsight")
    assert steering.seen > seen
    assert max(worst(before, through).values()) <= EXACT


def test_two_hundred_captures_keep_nothing() -> None:
    module: Any = tiny_families.fresh("gpt2")
    plan = plan_of("attention_output", "scores", layers=(0,), positions="last_prompt_token")
    prompts = [[5, 6, 7, 8], [9, 10, 11]]

    def held() -> tuple[int, int]:
        gc.collect()
        kept = [each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module | torch.Tensor)]
        return len(kept), threading.active_count()

    for _ in range(5):
        capture(module, prompts, plan, engine="nnsight")
    before = held()
    for _ in range(200):
        capture(module, prompts, plan, engine="nnsight")
    assert held() == before


def test_a_model_in_nnsights_own_wrapper() -> None:
    module: Any = tiny_families.fresh("llama")
    prompts = prompts_of("llama")
    native = capture(module, prompts, EVERYTHING)
    wrapped = nnsight.NNsight(module)
    assert max(worst(native, capture(wrapped, prompts, EVERYTHING, engine="nnsight")).values()) <= EXACT
    with torch.no_grad(), wrapped.trace(input_ids=torch.tensor([[5, 6, 7]])):
        kept = wrapped.model.layers[0].output.save()
    assert kept.shape == (1, 3, 32)
    with wrapped.edit(inplace=True):
        wrapped.model.layers[0].output[:] = 0
    with pytest.raises(UserError, match="carries edits"):
        capture(wrapped, prompts, EVERYTHING, engine="nnsight")


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_our_tap_reads_a_module_that_nnsight_has_wrapped(name: str) -> None:
    module: Any = tiny_families.fresh(name)
    native = capture(module, prompts_of(name), EVERYTHING)
    own = forward_signature(module)
    nnsight.NNsight(module)
    assert forward_signature(module) == own
    assert max(worst(native, capture(module, prompts_of(name), EVERYTHING)).values()) == 0


def test_a_layer_that_runs_twice_is_noticed() -> None:
    module: Any = tiny_families.fresh("gpt2")
    block = module.transformer.h[1]

    class Twice(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            for name, child in inner.named_children():
                self.add_module(name, child)
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.inner(*args, **kwargs)
            return self.inner(*args, **kwargs)

    module.transformer.h[1] = Twice(block)
    for sites in (("residual_middle",), ("scores",), ("attention_output",)):
        with pytest.raises(UserError, match=r"layer 1 .* twice"):
            capture(module, prompts_of("gpt2"), plan_of(*sites), engine="nnsight", share_prefix=False)
