"""A row that says wrongly where heads lie fails the self-check, and the failing property says which it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import shared_material
import tiny_decoders
import tiny_families
import torch
from tiny_decoders import DECODERS

from iclprobe.hooks.layout_check import foreign_rows, unchecked_rows, unlike_heads
from iclprobe.hooks.self_check import OUTPUT_CHECK, ROWS_CHECK, SelfCheck, self_check
from iclprobe.models.families import resolve_family
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.projections import HeadGeometry
from iclprobe.tasks.prompts import PromptSet

SWAPPED = ("k_proj", "q_proj", "v_proj")


def build(name: str) -> Any:
    return (tiny_decoders if name in DECODERS else tiny_families).build(name)


def with_row(name: str, **wrong: Any) -> LanguageModel:
    """The tiny model with a row that differs from its own."""
    module = build(name)
    return LanguageModel(module, replace(resolve_family(module.config), **wrong), None, name)


def failed(result: SelfCheck) -> dict[str, str]:
    """Each property that does not hold, with its note."""
    return {check.name: check.note for check in result.checks if not check.held}


@pytest.mark.parametrize("name", list(DECODERS))
def test_every_decoder_of_the_table_passes_and_keeps_its_weights(name: str) -> None:
    module = build(name)
    before = copy.deepcopy(module.state_dict())
    model, prompts = load_model(module), PromptSet((), tiny_decoders.prompts(name))
    assert unlike_heads(model, prompts, 1e-4) <= 1e-5
    assert foreign_rows(model, prompts, 1e-4) <= 1e-5
    assert unchecked_rows(model) == ""
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@pytest.mark.real
@pytest.mark.parametrize("name", ["gemma3-270m", "smollm2-135m-instruct"])
def test_real_models_pass(name: str) -> None:
    result = self_check(load_model(shared_material.real_model(name), device="cpu"), [tuple(range(5, 30))])
    assert result.held, result.lines()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        # Queries and keys swapped, where their shapes allow it and where they do not.
        ("minicpm3", {"layout": "separate"}),
        ("llama", {"projections": SWAPPED}),
        ("opt", {"projections": SWAPPED}),
        ("gptj", {"projections": SWAPPED}),
        ("gpt_neo", {"projections": SWAPPED}),
        ("xglm", {"projections": SWAPPED}),
        ("bart", {"projections": SWAPPED}),
        ("bart", {"projections": ("q_proj", "v_proj", "k_proj")}),
        ("gptj", {"projections": ("q_proj", "v_proj", "k_proj")}),
        # One interleaving taken for another.
        ("gpt_neox", {"layout": "thirds"}),
        ("bloom", {"layout": "thirds"}),
        ("falcon", {"layout": "per_head"}),
        ("falcon_grouped", {"layout": "thirds"}),
        ("mpt", {"layout": "per_head"}),
        ("gpt2", {"layout": "per_head"}),
        ("gpt2", {"layout": "codegen"}),
        ("gpt_bigcode_multi_head", {"layout": "thirds"}),
        ("codegen", {"layout": "thirds"}),
        ("phi3", {"layout": "grouped"}),
        ("dbrx", {"layout": "grouped"}),
        # Weights that lie the other way, and heads of another number.
        ("gpt_neo", {"transposed": True}),
        ("llama", {"geometry": lambda *_: HeadGeometry(2, 1, 16)}),
        ("llama", {"geometry": lambda *_: HeadGeometry(8, 4, 4)}),
    ],
)
def test_rows_of_another_head_or_projection_fail(name: str, wrong: dict[str, Any]) -> None:
    found = failed(self_check(with_row(name, **wrong)))
    assert ROWS_CHECK in found
    assert "layer 0" in found[ROWS_CHECK]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("llama", {"output_projection": "v_proj"}),
        ("opt", {"output_projection": "q_proj"}),
        ("opt", {"output_projection": "v_proj"}),
        ("gptj", {"output_projection": "k_proj"}),
        ("gpt2", {"output_projection": "c_attn"}),
        ("mpt", {"output_projection": "Wqkv"}),
        ("bitnet", {"output_projection": "q_proj"}),
        # What is called attention here is a whole layer, and its output projection the MLP's.
        ("gptj", {"attention": "", "output_projection": "mlp.fc_out", "projections": ("attn.q_proj",) * 3}),
        (
            "bloom",
            {
                "attention": "",
                "output_projection": "mlp.dense_4h_to_h",
                "projections": ("self_attention.query_key_value",),
            },
        ),
        # As wide as attention's output, and after it.
        (
            "xglm",
            {
                "attention": "",
                "output_projection": "fc1",
                "projections": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            },
        ),
    ],
)
def test_another_output_projection_fails(name: str, wrong: dict[str, Any]) -> None:
    found = failed(self_check(with_row(name, **wrong)))
    assert OUTPUT_CHECK in found
    assert "layer 0" in found[OUTPUT_CHECK]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"projections": SWAPPED}, r"W_Q has 16 rows and not 32"),
        ({"layout": "gated"}, r"W_Q has 32 rows and not 64"),
    ],
)
def test_the_sentence_says_what_the_rows_are(wrong: dict[str, Any], sentence: str) -> None:
    assert sentence in failed(self_check(with_row("llama", **wrong)))[ROWS_CHECK]


def test_the_sentence_names_head_and_projection() -> None:
    notes = [failed(self_check(with_row(name, projections=SWAPPED)))[ROWS_CHECK] for name in ("opt", "gptj")]
    assert notes[0] == (
        "layer 0: rows called W_Q of head 0 are not its own: changing them does not turn queries of head 0"
    )
    assert notes[1] == notes[0]


def test_weights_that_cannot_be_changed_are_said() -> None:
    module: Any = tiny_families.fresh("llama")
    for layer in module.model.layers[1:]:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            weight = projection.weight.detach()
            del projection.weight
            projection.weight = weight
    result = self_check(module)
    assert result.held
    note = next(check.note for check in result.checks if check.name == ROWS_CHECK)
    assert note == "not layer 1 and 1 more: weights are quantised or offloaded"


def test_a_graph_that_waits_for_its_backward_may_go_on() -> None:
    """The check changes weights in place, and autograd counts such changes."""
    module: Any = tiny_families.fresh("llama")
    logits = module(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert self_check(module).held
    logits.sum().backward()
    assert module.model.layers[0].self_attn.q_proj.weight.grad is not None


def test_a_head_of_zeros_is_told_from_the_others() -> None:
    module: Any = tiny_families.fresh("gptj")
    with torch.no_grad():
        for projection in ("q_proj", "k_proj", "v_proj"):
            getattr(module.transformer.h[1].attn, projection).weight[:8] = 0.0
    assert self_check(module).held
