"""Running a part of a model gives what the whole model gives, in every family, and leaves the model as it was."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, snapshot

from iclprobe.models.loading import load_model
from iclprobe.models.partial_forward import PartialForward


def _inputs(name: str, model: Any) -> dict[str, Any]:
    """Two prompts, one padded on the right where the family allows padding."""
    first, second = (tiny_families.random_ids(length, length) for length in (14, 11))
    if not model.family.pads:
        first = first[: len(second)]
    ids, mask = torch.zeros(2, len(first), dtype=torch.long), torch.zeros(2, len(first), dtype=torch.long)
    for row, tokens in enumerate((first, second)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_every_layer_can_be_the_first_and_layers_can_be_run_one_by_one(name: str):
    model = load_model(tiny_families.build(name))
    inputs = _inputs(name, model)
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        want = model.module(**inputs).logits[real]
        partial = PartialForward(model)
        hidden, calls = partial.calls(inputs)
        for layer in range(model.n_layers + 1):
            with partial.from_layer(layer, hidden):
                got = model.module(**inputs).logits[real]
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.abs().max()))
            if layer < model.n_layers:
                torch.testing.assert_close(partial.hidden_entering(layer, inputs), hidden)
                hidden = partial.run_layer(layer, hidden, calls[layer])
        with partial.read_out(hidden):
            read = model.module(**inputs).logits[real]
    torch.testing.assert_close(read, want, rtol=0, atol=1e-6 * float(want.abs().max()))


def test_the_model_is_as_it_was_after_an_error_too():
    module = tiny_families.fresh("gptj")
    model = load_model(module)
    before = snapshot(module)
    partial = PartialForward(model)
    inputs = _inputs("gptj", model)
    with pytest.raises(RuntimeError), partial.from_layer(1, torch.zeros(2, 14, 7)):
        module(**inputs)
    assert_as_it_was(module, before)
    assert not any("forward" in part.__dict__ for part in module.modules())
    kept: dict[int, torch.Tensor] = {}
    with torch.no_grad(), partial.keeping(2, kept, 5):
        module(**inputs)
    torch.testing.assert_close(kept[5], partial.hidden_entering(2, inputs))
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_a_forward_that_somebody_else_replaced_comes_back():
    module = tiny_families.fresh("llama")
    model = load_model(module)
    layer: Any = model.parts[0].layer
    original = layer.forward
    layer.forward = lambda *args, **kwargs: original(*args, **kwargs)
    theirs = layer.forward
    partial = PartialForward(model)
    hidden = partial.hidden_entering(1, _inputs("llama", model))
    with partial.from_layer(1, hidden):
        assert layer.forward is not theirs
    assert layer.forward is theirs
