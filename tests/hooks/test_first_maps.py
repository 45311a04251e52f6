"""First maps of MLPs: found in every family that has them, refused by name, and moved in one forward."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_families import FAMILIES, build, random_ids

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.first_maps import first_maps, moved_outputs
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import load_model
from iclprobe.probes.implicit_update import implicit_updates
from iclprobe.tasks.prompt_set import PromptSet

EXPERTS = ("gpt_oss", "mixtral", "qwen3_moe")
DENSE = [name for name in FAMILIES if name not in EXPERTS]
MLP = CapturePlan(sites=("mlp_input", "mlp_output"), positions="all")
QUERY, DEMONSTRATIONS = tuple(random_ids(7, 1)), tuple(random_ids(20, 2))


@torch.no_grad()
@pytest.mark.parametrize("name", DENSE)
def test_a_changed_weight_gives_the_mlps_output_in_context(name: str) -> None:
    """The weights of the module itself are changed, and the MLP runs in the model's own forward."""
    module: Any = copy.deepcopy(build(name))
    model = load_model(module)
    zero_shot = capture(model, PromptSet((), (QUERY,)), MLP)
    icl = capture(model, PromptSet((), (DEMONSTRATIONS + QUERY,)), MLP)
    for place, maps in enumerate(first_maps(model)):
        modules: Any = maps.modules
        before, wanted = (each.arrays() for each in (zero_shot, icl))
        updates = implicit_updates(
            maps.weight(), before["mlp_input"][:, place, -1], wanted["mlp_input"][:, place, -1]
        )
        kept = [each.weight.clone() for each in modules]
        for each, part in zip(modules, updates.matrix(0).float().split(maps.widths), strict=True):
            transposed = type(each).__name__ == "Conv1D"
            each.weight.add_(part.T if transposed else part)
        changed = capture(model, PromptSet((), (QUERY,)), MLP).arrays()
        for each, weight in zip(modules, kept, strict=True):
            each.weight.copy_(weight)
        assert torch.equal(changed["mlp_input"][:, place], before["mlp_input"][:, place])
        output = wanted["mlp_output"][0, place, -1]
        apart = before["mlp_output"][0, place, -1] - output
        assert float((changed["mlp_output"][0, place, -1] - output).abs().max()) <= 1e-5 * max(
            1.0, float(output.abs().max())
        )
        assert float(apart.abs().max()) > 1e-3 or (place == 0 and name in PARALLEL)


PARALLEL = [
    "gptj",
    "gpt_neox",
    "codegen",
    "falcon",
    "falcon_grouped",
    "phi",
    "phi_qk_norm",
    "stablelm_qk_norm",
    "cohere",
    "cohere_qk_norm",
    "cohere2",
]
"""Families whose MLP of the first layer reads nothing but the token."""


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_refused_by_name(name: str) -> None:
    model = load_model(build(name))
    with pytest.raises(UserError, match=f"MLP of layer 0 .*{name}.*dense MLPs"):
        first_maps(model)


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "phi3", "gemma2"])
def test_rows_are_moved_at_their_last_token_in_one_forward(name: str) -> None:
    model = load_model(build(name))
    maps = {each.layer: each for each in first_maps(model)}
    ids = torch.tensor([random_ids(5, 3)] * 3)
    found: list[torch.Tensor] = []
    by = torch.randn(2, sum(maps[1].widths), generator=torch.Generator().manual_seed(0))

    def note(module: Any, args: Any, output: torch.Tensor) -> None:
        found.append(output.view(3, 5, -1))

    plain = model.module(input_ids=ids, use_cache=False).logits
    with moved_outputs(maps, {1: (torch.tensor([0, 2]), by)}, 3):
        handles = [each.register_forward_hook(note) for each in maps[1].modules]
        moved = model.module(input_ids=ids, use_cache=False).logits
        again = model.module(input_ids=ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    first, last = (
        torch.cat(found[: len(found) // 2], dim=-1),
        torch.cat(found[len(found) // 2 :], dim=-1),
    )
    assert torch.allclose((first - last)[[0, 2], -1], by, atol=1e-4)
    assert bool(((first - last)[:, :-1] == 0).all()) and bool(((first - last)[1] == 0).all())
    assert torch.equal(again, plain) and torch.equal(
        model.module(input_ids=ids, use_cache=False).logits, plain
    )
    assert torch.equal(moved[1], plain[1]) and not torch.allclose(moved[0, -1], plain[0, -1], atol=1e-3)
