"""Logits of chosen tokens are those of the whole model, in every family, and of hardly any others."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from model_snapshot import sequences

from iclprobe.models.chosen_logits import packs, run_at
from iclprobe.models.loading import load_model
from iclprobe.models.token_loss import loss_batch, loss_of
from iclprobe.tasks.prompt_set import TrainingSequence

# Gives hidden states the shape of the batch again behind the layers.
_AS_THEY_STAND = ("gpt_bigcode", "gpt_bigcode_multi_head")
_ROWS, _PLACES = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([4, 8, 6, 1, 3, 5])


def _inputs(model: Any) -> dict[str, Any]:
    """Three prompts, padded on the right where the family allows padding."""
    lengths = (9, 7, 6) if model.family.pads else (9, 9, 9)
    ids, mask = torch.zeros(3, 9, dtype=torch.long), torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor(tiny_families.random_ids(length, 3 + row))
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_they_are_those_of_the_whole_model_and_so_are_gradients(name: str) -> None:
    model = load_model(tiny_families.build(name))
    assert packs(model) == (name not in _AS_THEY_STAND)
    inputs = _inputs(model)
    leaf: Any = model.module.get_input_embeddings().weight  # type: ignore[union-attr]
    found = []
    for run in (
        lambda: model.module(**inputs).logits[_ROWS, _PLACES],
        lambda: run_at(model, inputs, _ROWS, _PLACES)[1],
    ):
        logits = run()
        (gradient,) = torch.autograd.grad(logits.float().log_softmax(dim=-1).square().sum(), [leaf])
        found.append((logits.detach(), gradient))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=2e-6 * float(one.abs().max()))


def test_layers_that_share_keys_run_as_they_are() -> None:
    import tiny_decoders

    model = load_model(tiny_decoders.build("gemma3n_text"))
    assert not packs(model)
    ids = torch.tensor([tiny_decoders.prompts("gemma3n_text")[0]] * 2)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    rows, places = torch.tensor([0, 1]), torch.tensor([3, 5])
    with torch.no_grad():
        want = model.module(**inputs).logits[rows, places]
        torch.testing.assert_close(run_at(model, inputs, rows, places)[1], want)


def _heads(module: Any, run: Any) -> int:
    """Return of how many tokens logits are computed while something runs."""
    seen: list[int] = []
    handle = module.get_output_embeddings().register_forward_pre_hook(
        lambda _, args: seen.append(args[0].shape[:-1].numel())
    )
    try:
        run()
    finally:
        handle.remove()
    return sum(seen)


def test_only_loss_tokens_go_through_the_head() -> None:
    module: Any = tiny_families.build("llama")
    model = load_model(module)
    packs(model)
    training = [TrainingSequence(tuple(range(3, 3 + length)), length - 1) for length in (5, 9, 12, 14)]
    assert _heads(module, lambda: loss_of(model, loss_batch(model, training, "label"))) == 4
    every = sum(length - 1 for length in (5, 9, 12, 14))
    count = _heads(module, lambda: loss_of(model, loss_batch(model, training, "all")))
    assert every <= count < every + 3


def test_one_sequence_runs_as_ever() -> None:
    module: Any = tiny_families.build("llama")
    model = load_model(module)
    batch = loss_batch(model, sequences(1), "all")
    wanted = module(**batch.inputs).logits[0, :-1]
    assert torch.equal(run_at(model, batch.inputs, batch.rows, batch.positions)[1], wanted)


def test_a_head_that_goes_by_the_shape_of_the_batch_is_noticed() -> None:
    module: Any = tiny_families.fresh("llama")
    original = module.model.norm.forward
    module.model.norm.forward = lambda hidden: original(hidden) * (1 + hidden.shape[0])
    assert not packs(load_model(module))
