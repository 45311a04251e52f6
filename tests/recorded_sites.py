"""The newer sites of every tiny model as a capture records them, and which model refuses which."""

from __future__ import annotations

import functools
from typing import Any

import eager_oracle
import tiny_decoders
import tiny_families
from expected_rows import EXACT
from torch import Tensor

from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.tasks.prompts import PromptSet

EVERY = dict.fromkeys(tiny_families.FAMILIES, tiny_families) | dict.fromkeys(
    tiny_decoders.DECODERS, tiny_decoders
)
NEW: tuple[Any, ...] = tuple(site for site in SITES if site not in ("scores", "pattern"))
OF_HEADS = ("queries", "keys", "values")

REFUSED: dict[str, str] = {
    # Attention and MLP read one stream; Gemma 3n mixes several; Nemotron-H has no MLP behind attention.
    "residual_middle": "gptj codegen gpt_neox falcon falcon_grouped phi phi_qk_norm stablelm_qk_norm cohere "
    "cohere_qk_norm cohere2 cohere2_moe gemma3n_text nemotron_h",
    "mlp_input": "nemotron_h",
    # Experts and a shared MLP beside them.
    "mlp_output": "nemotron_h granitemoeshared granitemoe_swa granitemoehybrid",
}
"""Which models refuse which site in every layer; a site that is lost fails here."""

UNLIKE: dict[str, tuple[tuple[tuple[int, ...], ...], str]] = {
    "mimo_v2_flash": (((0, 2), (1,)), "keys values"),
    "gemma4_text": (((0, 2), (1, 3)), "queries keys values"),
    "gemma4_unified_text": (((0, 1), (2,)), "queries keys values"),
}
"""Models whose layers have other head counts or widths than each other: which layers agree, and in which sites."""


def prompts_of(name: str) -> PromptSet:
    """Queries of three lengths behind a prefix."""
    tiny: Any = EVERY[name]
    return PromptSet(tuple(tiny.prefix(name)), tuple(tuple(ids) for ids in tiny.prompts(name)[:3]), (), ())


def full_prompts(name: str) -> PromptSet:
    prompts = prompts_of(name)
    return PromptSet((), tuple(prompts.full_ids(index) for index in range(prompts.n)), (), ())


def refused(name: str) -> set[str]:
    return {site for site, names in REFUSED.items() if name in names.split()}


Recorded = dict[tuple[str, int], Tensor]


def recorded(name: str, model: Any, prompts: PromptSet, **options: Any) -> list[Recorded]:
    """Every new site of every layer, `[tokens, …]`, of each prompt."""
    sites = [site for site in NEW if site not in refused(name)]
    groups, unlike = UNLIKE.get(name, ((None,), ""))
    plans: list[Any] = [(None, [site for site in sites if site not in unlike.split()])]
    plans += [(group, unlike.split()) for group in groups if group]
    found: list[Recorded] = [{} for _ in range(prompts.n)]
    for layers, asked in plans:
        plan = CapturePlan(sites=tuple(asked), layers=layers, positions="all")
        got: Any = capture(model, prompts, plan, batch_size=3, **options)
        for index, record in enumerate(found):
            for site in asked:
                for place, layer in enumerate(got.layers):
                    record[site, layer] = getattr(got, site)[index, place, got.rows[index]]
    return found


@functools.cache
def alone(name: str) -> Recorded:
    """The first full prompt of a family's shared tiny model, by itself."""
    return recorded(name, build(name), first(name))[0]


def first(name: str) -> PromptSet:
    return PromptSet((), full_prompts(name).query_ids[:1], (), ())


def ids_of(name: str) -> tuple[int, ...]:
    return first(name).query_ids[0]


def build(name: str) -> Any:
    tiny: Any = EVERY[name]
    return tiny.build(name)


def close(got: Tensor, want: Tensor, tolerance: float = EXACT) -> bool:
    """Equal relative to the largest entry of each token (or head's) vector."""
    assert got.shape == want.shape
    size = want.abs().amax(dim=-1, keepdim=True).clamp(min=1e-3 * want.abs().max())
    return bool(((got - want).abs() <= tolerance * size).all())


def layers_of(name: str, model: Any) -> list[tuple[int, int, Any]]:
    """Place among the layers with attention, number among all, and the layer."""
    numbers = eager_oracle.attending(model)
    layers = eager_oracle.attention_layers(model)
    return [(place, *pair) for place, pair in enumerate(zip(numbers, layers, strict=True))]


def mlp_module(name: str, mlp: str | None) -> str:
    """The module that is given the MLP's input, by the path of the one that gives its output."""
    if mlp is None:
        return "shared_mlp"
    block, _, last = mlp.rpartition(".")
    return block or {"fc2": "fc1"}.get(last, last)
