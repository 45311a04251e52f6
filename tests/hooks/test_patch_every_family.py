"""What a tap reads a patch writes: in every model nothing changes by itself, and what is new is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eager_oracle
import pytest
import torch
from expected_rows import EXACT
from recorded_sites import EVERY, UNLIKE, build, layers_of, mlp_module, refused
from tiny_families import random_ids
from torch import Tensor

from iclprobe.errors import UserError
from iclprobe.hooks.patch import patch
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.tap import tap

every_model = pytest.mark.parametrize("name", list(EVERY))


def every_model_but(names: str) -> Any:
    return pytest.mark.parametrize("name", [name for name in EVERY if name not in names.split()])


GATED = "laguna afmoe beam qwen3_next qwen3_5_text qwen3_5_moe_text lfm3 bailing_hybrid muse_glimmer"
"""Models whose layer's input opens a gate between attention and the output projection."""

SEVERAL_MODULES = "granitemoeshared granitemoe_swa granitemoehybrid"
"""Models whose MLP's input is given to experts and to an MLP beside them."""

MORE_THAN_THE_STREAM = "gemma3n_text gemma4_text"
"""Models whose layers read more than one stream: other streams, parts of the embedding, keys of layers below."""

LENGTH = 14
A, B = (torch.tensor([random_ids(LENGTH, 2 * each + run) for each in (1, 2)]) for run in (0, 1))


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def sites_of(name: str) -> list[Any]:
    return [site for site in SITES if site not in refused(name)]


def plan_of(name: str, *sites: Any, **asked: Any) -> CapturePlan:
    """All layers, or those whose heads are alike."""
    return CapturePlan(
        sites=sites, **{"positions": "all", "layers": UNLIKE.get(name, ((None,), ""))[0][0]} | asked
    )


def recorded(model: Any, plan: CapturePlan, ids: Tensor) -> Any:
    with tap(model, plan) as recorder:
        logits(model, ids)
    return recorder.capture()


def close(got: Tensor, want: Tensor, tolerance: float = EXACT) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


@every_model
def test_zero_change_is_no_change_in_any_bit(name: str) -> None:
    model, sites = build(name), sites_of(name)
    every = plan_of(name, *sites)
    untouched, own, seen = logits(model, B), recorded(model, every, B), []
    with patch(model, every, own):
        assert torch.equal(logits(model, B), untouched)

    def same(site: Any, layer: int, computed: Tensor) -> Tensor:
        seen.append((site, layer))
        return computed.clone()

    with patch(model, every, same), tap(model, every) as inside:
        assert torch.equal(logits(model, B), untouched)
    assert sorted(seen) == sorted((site, layer) for site in sites for layer in own.layers)
    assert all(torch.equal(getattr(inside.capture(), site), getattr(own, site)) for site in sites)


@every_model
def test_a_tap_inside_reads_what_is_written_and_one_around_what_was_computed(name: str) -> None:
    model, sites = build(name), sites_of(name)
    untouched, own = logits(model, B), recorded(model, plan_of(name, *sites, positions=(3, -1)), B)
    for site in sites:
        plan = plan_of(name, site, positions=(3, -1))
        noise = 0.1 * torch.randn(getattr(own, site).shape, generator=torch.Generator().manual_seed(1))
        new = getattr(own, site) + (noise * own.visible if site in ("scores", "pattern") else noise)
        with tap(model, plan) as around, patch(model, plan, {site: new}), tap(model, plan) as inside:
            changed = logits(model, B)
        assert not torch.equal(changed, untouched)
        # What goes before the first token that is written knows nothing of it.
        assert close(changed[:, :3], untouched[:, :3])
        # A layer's own value is computed before it is written; layers above feel what was written below.
        assert close(getattr(around.capture(), site)[:, 0], getattr(own, site)[:, 0]), site
        if site != "head_output":
            # Heads are read where they are mixed, and what they add is written behind that.
            assert close(getattr(inside.capture(), site), new), site


STREAMS: tuple[Any, ...] = ("residual_before", "residual_middle", "residual")
PARTS = [
    (("mlp_input",), "mlp_output"),
    (("head_output",), "attention_output"),
    (("queries", "keys", "values"), "attention_output"),
    (("scores", "values"), "attention_output"),
    (("pattern", "values"), "attention_output"),
]


@every_model_but(MORE_THAN_THE_STREAM)
def test_a_stream_of_another_run_reproduces_that_run_from_there_on(name: str) -> None:
    model, streams = build(name), tuple(site for site in STREAMS if site not in refused(name))
    layers = eager_oracle.attending(model)
    other, end = recorded(model, CapturePlan(sites=streams, positions="all"), A), logits(model, A)
    for site in streams:
        for place in {0, len(layers) - 1}:
            plan = CapturePlan(sites=(site,), positions="all", layers=(layers[place],))
            with (
                patch(model, plan, other),
                tap(model, CapturePlan(sites=("residual",), positions="all")) as inside,
            ):
                assert close(logits(model, B), end), (site, place)
            got: Any = inside.capture()
            assert close(got.residual[:, place:], other.residual[:, place:])


@pytest.mark.parametrize("name", ["gemma4_text"])
def test_the_stream_between_is_that_of_its_layer_where_layers_read_more(name: str) -> None:
    """The other run has the same tokens, for parts of their embedding enter every layer, and another stream."""
    model, layers = build(name), layers_of(name, build(name))
    for _, layer, module in layers:
        between, after = (plan_of(name, site, layers=(layer,)) for site in ("residual_middle", "residual"))
        with writing(module, True, lambda given: given * 1.5):
            other, wanted = recorded(model, between, B), recorded(model, after, B)
        with patch(model, between, other):
            assert close(recorded(model, after, B).residual, wanted.residual)


@every_model
def test_parts_of_another_run_give_what_it_made_of_them(name: str) -> None:
    model = build(name)
    other = recorded(model, plan_of(name, *sites_of(name)), A)
    for sites, made in PARTS:
        if {*sites, made} & refused(name) or ("values" in sites and name in GATED.split()):
            continue
        if name == "doge" and "queries" in sites:
            continue  # its mask is made of its own values
        for place in {0, len(other.layers) - 1}:
            layer = other.layers[place]
            with patch(model, plan_of(name, *sites, layers=(layer,)), other):
                got = recorded(model, plan_of(name, made, layers=(layer,)), B)
            assert close(getattr(got, made)[:, 0], getattr(other, made)[:, place]), (sites, layer)


@pytest.mark.parametrize("name", GATED.split())
def test_behind_a_gate_all_ways_to_write_attention_agree(name: str) -> None:
    model = build(name)
    results, behind = [], plan_of(name, "attention_output")
    for sites, _ in PARTS[2:]:
        plan = plan_of(name, *sites)
        with patch(model, plan, recorded(model, plan, A)):
            results.append(recorded(model, behind, B).attention_output)
    assert close(results[1], results[0]) and close(results[2], results[0])
    assert not close(recorded(model, behind, B).attention_output, results[0], 1e-2)


@pytest.mark.parametrize("name", SEVERAL_MODULES.split())
def test_an_input_of_several_modules_is_written_for_all(name: str) -> None:
    model = build(name)
    both = plan_of(name, "residual_middle", "residual")
    other = recorded(model, both, A)
    for place, layer in enumerate(other.layers):
        plan = plan_of(name, "mlp_input", layers=(layer,))
        with patch(model, plan, recorded(model, plan, A)):
            got = recorded(model, both, B)
        added, wanted = (each.residual[:, place] - each.residual_middle[:, place] for each in (got, other))
        assert close(added, wanted)


@contextmanager
def writing(module: torch.nn.Module, is_input: bool, change: Any) -> Iterator[None]:
    """A plain hook of PyTorch's that changes a module's first input or output."""

    def before(module: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def behind(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, (tuple, list)):
            return type(output)((change(output[0]), *output[1:]))
        return change(output)

    if is_input:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(behind)
    try:
        yield
    finally:
        handle.remove()


@every_model
def test_the_model_goes_on_as_with_a_plain_hook(name: str) -> None:
    model = build(name)
    layout = eager_oracle.layout_of(model)
    _, number, layer = layers_of(name, model)[-1]
    modules: dict[Any, tuple[Any, bool]] = {
        "residual_before": (layer, True),
        "residual": (layer, False),
        "attention_output": (layer.get_submodule(layout.output_projection), False),
    }
    if layout.mlp_output is not None:
        modules["mlp_output"] = (layer.get_submodule(layout.mlp_output), False)
        modules["mlp_input"] = (layer.get_submodule(mlp_module(name, layout.mlp_output)), True)
    new = torch.randn(
        2, 2, model.config.get_text_config().hidden_size, generator=torch.Generator().manual_seed(5)
    )
    for site, (module, is_input) in modules.items():
        if site in refused(name):
            continue
        bias = own_bias(layer, layout) if site == "attention_output" else 0.0
        several = layout.stream if site in ("residual", "residual_before") else None

        def literal(tensor: Tensor, bias: Any = bias, several: Any = several) -> Tensor:
            changed = tensor.clone()
            rows = (changed if several is None else changed[several]).view(2, LENGTH, -1)
            for prompt in range(2):
                for place, token in enumerate((3, LENGTH - 2)):
                    rows[prompt, token] = new[prompt, place] - bias
            return changed

        with writing(module, is_input, literal):
            wanted = logits(model, B)
        plan = CapturePlan(sites=(site,), layers=(number,), positions=(3, -2))
        with patch(model, plan, {site: new[:, None]}):
            assert close(logits(model, B), wanted), site


def own_bias(layer: Any, layout: Any) -> Any:
    """A bias of the output projection that is a parameter by itself."""
    if layout.output_bias is None:
        return 0.0
    module, _, name = layout.output_bias.rpartition(".")
    bias = getattr(layer.get_submodule(module), name)
    return 0.0 if bias is None else bias.detach()


@every_model_but(f"{GATED} bitnet")  # which has a norm there
def test_a_written_pattern_is_what_mixes_the_values(name: str) -> None:
    model = build(name)
    _, number, layer = layers_of(name, model)[-1]
    plan = CapturePlan(sites=("pattern",), layers=(number,), positions=(3, -1))
    own = recorded(model, plan, B)
    drawn = torch.rand(own.pattern.shape, generator=torch.Generator().manual_seed(3)) * own.visible
    given: list[Tensor] = []
    projection = layer.get_submodule(eager_oracle.layout_of(model).output_projection)
    handle = projection.register_forward_pre_hook(
        lambda module, args: given.append(args[0].reshape(2, LENGTH, -1))
    )
    try:
        with patch(model, plan, {"pattern": drawn}):
            values = recorded(model, plan_of(name, "values", layers=(number,)), B).values[:, 0]
    finally:
        handle.remove()
    group = drawn.shape[3] // values.shape[2]
    for prompt in range(2):
        for place, token in enumerate((3, LENGTH - 1)):
            heads = [
                drawn[prompt, 0, place, head] @ values[prompt, :, head // group]
                for head in range(drawn.shape[3])
            ]
            assert close(given[0][prompt, token], torch.cat(heads))


@every_model
def test_what_cannot_be_read_cannot_be_written(name: str) -> None:
    refusals: Any = refused(name)
    for site in refusals:
        with (
            pytest.raises(UserError, match=site) as caught,
            patch(build(name), CapturePlan(sites=(site,)), lambda site, layer, computed: computed),
        ):
            pass
        assert len(str(caught.value)) <= 300
