"""Weight probes, partial forwards and finetuning go by the same rows as captures, in every model type."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import torch
from tiny_decoders import DECODERS

from iclprobe.errors import UserError
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.partial_forward import PartialForward
from iclprobe.models.recipe import Recipe
from iclprobe.models.weights import open_projections
from iclprobe.tasks.prompt_set import TrainingSequence

every_decoder = pytest.mark.parametrize("name", list(DECODERS))


@every_decoder
def test_weights_are_read_as_the_configuration_counts_heads(name: str) -> None:
    model = load_model(tiny_decoders.build(name))
    with open_projections(model.module, matrices=("query", "key", "value", "output")) as file:
        held = set(file.keys)
        for projection in file:
            sizes = model.geometry_of(projection.layer).sizes
            axis = 1 if projection.matrix == "output" else 0
            assert projection.weight.shape[axis] == sizes[projection.matrix]
    for part in model.parts:
        assert {(part.index, matrix) for matrix in (*part.projections, "output")} <= held


@every_decoder
def test_a_forward_from_the_middle_gives_the_logits_of_the_whole(name: str) -> None:
    model = load_model(tiny_decoders.build(name))
    ids = torch.tensor([tiny_decoders.prompts(name)[0]])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    partial = PartialForward(model)
    if model.family.shares_keys:
        with (
            pytest.raises(UserError, match="keys and values of layers below"),
            partial.from_layer(1, torch.zeros(1)),
        ):
            pass
        return
    with torch.no_grad():
        whole = model.module(**inputs).logits
        kept: dict[int, torch.Tensor] = {}
        with partial.keeping(1, kept, 0):
            model.module(**inputs)
        with partial.from_layer(1, kept[0]):
            again = model.module(**inputs).logits
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=1e-5)


@every_decoder
def test_finetuning_changes_keys_and_values_and_gives_the_model_back(name: str) -> None:
    model = load_model(tiny_decoders.fresh(name))
    ids = tuple(tiny_decoders.prompts(name)[0])
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    recipe = Recipe(parameters="attn_kv")
    delta = finetune(model, [TrainingSequence(ids, len(ids) - 2)], recipe, learning_rate=1e-2, seed=0).delta
    with delta.applied(model):
        changed = {
            key for key, value in model.module.state_dict().items() if not torch.equal(value, before[key])
        }
    assert changed
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
