"""What a capture of a tiny model must hold, read off the oracle, and how far a capture is from it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import eager_oracle
import tiny_families
import torch
from torch import Tensor

from iclprobe.hooks.captured import Capture
from iclprobe.tasks.prompts import PromptSet

SITES = ("attention_output", "scores", "pattern", "residual", "mlp_output")
EXACT = 1e-5
"""Scores are compared relative to the largest score of their row, outputs to the largest entry of the
token, patterns as they are."""


class Expected(NamedTuple):
    """One prompt of S tokens as the oracle sees it, all layers that have attention stacked."""

    scores: Tensor
    """[L, H, S, S], hidden entries 0."""
    visible: Tensor
    """[L, S, S]."""
    pattern: Tensor
    """[L, H, S, S]."""
    attention_output: Tensor
    """[L, S, d], as `residual` and `mlp_output`."""
    residual: Tensor
    mlp_output: Tensor | None
    """None where no one module gives it."""
    layers: tuple[int, ...]
    """The decoder layer of each of the L."""


def expected_of(model: torch.nn.Module, ids: Sequence[int]) -> Expected:
    """What the oracle reads in one unpadded prompt."""
    inputs = eager_oracle.witnessed(model, ids)
    mlp_outputs = eager_oracle.mlp_outputs(model, ids)
    return Expected(
        torch.stack([layer.scores for layer in inputs]).nan_to_num(0.0),
        torch.stack([layer.visible[0] for layer in inputs]),
        torch.stack([layer.pattern for layer in inputs]),
        torch.stack(eager_oracle.attention_outputs(model, ids)),
        torch.stack(eager_oracle.residual_streams(model, ids)),
        torch.stack(mlp_outputs) if mlp_outputs else None,
        eager_oracle.attending(model),
    )


@functools.cache
def expected(name: str, ids: tuple[int, ...]) -> Expected:
    """`expected_of` the family's shared tiny model."""
    return expected_of(tiny_families.build(name), ids)


def prompt_set(name: str, queries: int = 3, labels: bool = False) -> PromptSet:
    """Queries of different lengths behind a prefix; both are longer than the sliding window."""
    query_ids = tiny_families.prompts(name)[:queries]
    options: Any = ()
    if labels:
        options = tuple(((5, 8, 13), (21,), (34, 55)) for _ in query_ids)
    return PromptSet(
        tuple(tiny_families.prefix(name)),
        tuple(tuple(ids) for ids in query_ids),
        options,
        (0,) * queries if labels else (),
    )


def errors(
    got: Capture,
    index: int,
    want: Expected,
    rows: Sequence[int],
    columns: slice,
) -> dict[str, float]:
    """How far prompt `index` of a capture is from what is expected, for each array that it holds.

    Args:
        got: The capture.
        index: The prompt.
        want: What the oracle read.
        rows: The tokens whose rows were asked for, counted from the start of the whole prompt.
        columns: Which keys were asked for, likewise.
    """
    listed = list(rows)
    layers = [want.layers.index(layer) for layer in got.layers]
    found: dict[str, float] = {}
    width = want.visible[0, 0, columns].shape[0]
    if got.visible is not None:
        visible = want.visible[layers][:, listed, columns][:, :, None]
        taken = _positions(got, "visible", index, len(listed))
        assert torch.equal(taken[..., :width], visible)
        assert not taken[..., width:].any()
        for name in ("scores", "pattern"):
            array = getattr(got, name)
            if array is None:
                continue
            values = _positions(got, name, index, len(listed))
            assert (values[~taken.expand_as(values)] == 0).all()
            rows_wanted = getattr(want, name)[layers][:, :, listed].transpose(1, 2)
            # The first rows have so few keys that their scores may all be near 0, far below the spread of 2.
            largest = rows_wanted.abs().amax(-1, keepdim=True).clamp(min=1.0)
            size = largest if name == "scores" else torch.ones(1)
            difference = (values[..., :width] - rows_wanted[..., columns]) / size
            found[name] = difference.abs().max().item()
    for name in ("attention_output", "residual", "mlp_output"):
        if getattr(got, name) is not None:
            values = _positions(got, name, index, len(listed))
            outputs = getattr(want, name)[layers][:, listed]
            size = outputs.abs().amax(-1, keepdim=True)
            found[name] = ((values - outputs) / size).abs().max().item()
    return found


def _positions(got: Capture, name: str, index: int, count: int) -> Tensor:
    """`[L, P, …]` of one prompt; what lies behind the positions that exist must be 0 in a batch."""
    array = getattr(got, name)[index]
    if got.rows is None:
        return array[:, None]
    assert int(got.rows[index].sum()) == count
    return array[:, :count]
