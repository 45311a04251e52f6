"""A tap changes no bit of what a model computes, and rows are read right whatever the padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import tiny_families
import torch
from expected_rows import EXACT, SITES, errors, expected
from tiny_families import FAMILIES
from torch import Tensor

from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.tap import tap

every_family = pytest.mark.parametrize("name", list(FAMILIES))
EVERYTHING = CapturePlan(sites=SITES, positions="all")


def padded(sequences: list[list[int]], side: str) -> dict[str, Tensor]:
    """A user's own batch: ids, mask, and positions counted from the mask."""
    width = max(len(ids) for ids in sequences)
    rows = []
    for ids in sequences:
        filling = [0] * (width - len(ids))
        rows.append(ids + filling if side == "right" else filling + ids)
    mask = torch.tensor([[int(token != 0) for token in row] for row in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": torch.tensor(rows), "attention_mask": mask, "position_ids": positions}


def run(model: Any, batch: dict[str, Tensor], **others: Any) -> Any:
    """A forward; position ids are left out where the architecture derives them itself."""
    if model.config.model_type in ("mpt", "bloom"):
        batch = {name: tensor for name, tensor in batch.items() if name != "position_ids"}
    with torch.no_grad():
        return model(**batch, **others)


def cached(output: Any) -> Iterator[Tensor]:
    for layer in output.past_key_values.layers:
        yield layer.keys
        yield layer.values


@every_family
def test_outputs_and_cache_are_bit_for_bit_the_same(name: str) -> None:
    model = tiny_families.build(name)
    prompts = tiny_families.prompts(name)[:2]
    alone = {"input_ids": torch.tensor(prompts[:1])}
    for batch in (alone, padded(prompts, "right"), padded(prompts, "left")):
        without = run(model, batch, use_cache=True)
        with tap(model, EVERYTHING) as recorder:
            with_tap = run(model, batch, use_cache=True)
        assert len(recorder.recordings) == 1
        assert torch.equal(without.logits, with_tap.logits)
        pairs = list(zip(cached(without), cached(with_tap), strict=True))
        assert len(pairs) == 2 * model.config.num_hidden_layers
        assert all(torch.equal(one, other) for one, other in pairs)


@every_family
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_batch_size_change_no_row(name: str, side: str) -> None:
    model = tiny_families.build(name)
    prompts = tiny_families.prompts(name)
    for count in (2, 4):
        with tap(model, EVERYTHING) as recorder:
            run(model, padded(prompts[:count], side))
        recording = recorder.capture()
        width = recording.columns.shape[1]
        for index, ids in enumerate(prompts[:count]):
            first = width - len(ids) if side == "left" else 0
            own = slice(first, first + len(ids))
            assert recording.columns[index].nonzero()[:, 0].tolist() == list(range(width))[own]
            single = _one_prompt(recording, index, own)
            if name == "mpt" and side == "right":
                single = _undo_shift(single, expected(name, tuple(ids)))
            found = errors(single, 0, expected(name, tuple(ids)), range(len(ids)), slice(0, len(ids)))
            assert max(found.values()) <= EXACT, (count, index, found)


def _one_prompt(recording: Any, index: int, own: slice) -> Any:
    """The capture of one prompt of a batch, without the columns of its padding, which must be hidden."""
    one = recording.select(torch.tensor([index]))
    rows = one.rows[0]
    outside = torch.ones(one.columns.shape[1], dtype=torch.bool)
    outside[own] = False
    assert not one.visible[:, :, rows][..., outside].any()
    assert rows.sum() == own.stop - own.start
    names = ("columns", "scores", "visible", "pattern")
    return replace(one, **{name: getattr(one, name)[..., own] for name in names})


def _undo_shift(one: Any, want: Any) -> Any:
    """MPT's position bias counts from the end of the padded row: a constant a head that no pattern sees."""
    length = want.visible.shape[-1]
    scores = one.scores.clone()
    shift = scores[:, :, :length, :, :1] - want.scores.transpose(1, 2)[None, ..., :1]
    scores[:, :, :length] = (scores[:, :, :length] - shift) * one.visible[:, :, :length]
    return replace(one, scores=scores)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gemma2", "gptj", "gpt_neo", "bloom", "falcon"])
def test_each_step_of_generation_is_one_recording(name: str) -> None:
    """Its row is the newest token's, over all keys so far."""
    model: Any = tiny_families.build(name)
    ids = tiny_families.prompts(name)[0]
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    batch = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    without = model.generate(**batch, **settings)
    with tap(model, CapturePlan(sites=SITES)) as recorder:
        generated = model.generate(**batch, **settings)
    assert torch.equal(without, generated)
    got = recorder.capture()
    assert got.n == 3
    whole = tuple(generated[0].tolist())
    for step in range(3):
        length = len(ids) + step
        assert got.columns[step].sum() == length
        found = errors(got, step, expected(name, whole[:length]), [length - 1], slice(0, length))
        assert max(found.values()) <= EXACT, (step, found)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "bloom"])
def test_generating_for_a_left_padded_batch_records_every_prompt(name: str) -> None:
    model: Any = tiny_families.build(name)
    batch = padded(tiny_families.prompts(name)[:2], "left")
    del batch["position_ids"]
    with tap(model) as recorder:
        model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert recorder.capture().n == 2 * 3


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gptj"])
def test_inputs_may_be_given_in_any_way(name: str) -> None:
    model: Any = tiny_families.build(name)
    batch = padded(tiny_families.prompts(name)[:2], "right")
    with tap(model) as recorder, torch.no_grad():
        model(**batch)
        if name in ("llama", "opt"):
            model(batch["input_ids"], batch["attention_mask"])
        embedded = model.get_input_embeddings()(batch["input_ids"])
        model(**{**batch, "input_ids": None, "inputs_embeds": embedded})
    reference, *others = recorder.recordings
    for other in others:
        for site, values in reference.items():
            torch.testing.assert_close(other[site], values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj", "bloom", "falcon"])
def test_gradients_flow_as_without_a_tap_and_what_is_kept_has_none(name: str) -> None:
    model: Any = tiny_families.fresh(name)
    ids = torch.tensor(tiny_families.prompts(name)[:1])

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    without = gradients()
    with tap(model, EVERYTHING) as recorder:
        with_tap = gradients()
    assert all(torch.equal(one, other) for one, other in zip(without, with_tap, strict=True))
    assert not any(array.requires_grad for array in recorder.recordings[0].values())
    found = errors(
        recorder.capture(),
        0,
        expected(name, tuple(ids[0].tolist())),
        range(ids.shape[1]),
        slice(0, ids.shape[1]),
    )
    assert max(found.values()) <= EXACT


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_cache_of_fixed_size_gives_the_columns_of_the_tokens(name: str) -> None:
    from transformers import StaticCache

    model: Any = tiny_families.build(name)
    ids = tiny_families.prompts(name)[0]
    cache = StaticCache(config=model.config, max_cache_len=40)
    with tap(model, EVERYTHING) as recorder, torch.no_grad():
        model(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            past_key_values=cache,
        )
    found = errors(recorder.capture(), 0, expected(name, tuple(ids)), range(len(ids)), slice(0, len(ids)))
    assert max(found.values()) <= EXACT
