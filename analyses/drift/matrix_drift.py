"""How far each attention matrix moves over a series of checkpoints, read one matrix after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError, shown
from ...models.matrices import Matrix
from ...models.undefined_entries import undefined_entries
from ...models.weights import ProjectionFile, open_projections
from ...probes import Drift, pairwise_mean_absolute, update_cosine, weight_drift
from ...progress import progressing
from ...seeds import derive_seed
from ..weights.checkpoints import Checkpoint
from ..weights.reading import require_defined
from ..worker_threads import work_through
from .config import DriftConfig

Against = Literal["previous", "first", "last"]
AGAINST: tuple[Against, ...] = ("previous", "first", "last")

# Entries of each matrix that the pairwise table compares: all of a small one.
_SAMPLED_ENTRIES = 1 << 14


@dataclass(frozen=True)
class MatrixDrift:
    """How far one matrix of one layer moved.

    Attributes:
        layer: Counted from 0.
        matrix: Which of W_Q, W_K, W_V and W_O.
        checkpoint: Index of the checkpoint.
        against: Which other checkpoint it is compared with.
        step_gap: Training steps between the two, where known.
        drift: How far the matrix moved from the earlier to the later of the two.
        update_cosine: Between this update and the one before (``previous`` only, else NaN); NaN also where one of
            the two is zero, or no longer than the rounding of what is stored.
    """

    layer: int
    matrix: Matrix
    checkpoint: int
    against: Against
    step_gap: int | None
    drift: Drift
    update_cosine: float


def compare_weights(config: DriftConfig) -> tuple[tuple[MatrixDrift, ...], Tensor]:
    """Go through all matrices of all checkpoints, each read once.

    Args:
        config: Which checkpoints and matrices.

    Returns:
        One entry a matrix, checkpoint and checkpoint compared with; and the mean |ΔW| between every two, ``[C, C]``.

    Raises:
        UserError: If the checkpoints are not of one model, or hold undefined entries.
    """
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                open_projections(
                    checkpoint.model,
                    revision=checkpoint.revision,
                    **config.reading,
                )
            )
            for checkpoint in config.checkpoints
        ]
        _require_alike(config, files)
        pairwise = torch.zeros(len(files), len(files), dtype=torch.float64)

        def comparisons() -> Iterator[Callable[[], list[MatrixDrift]]]:
            for layer, matrix in progressing(files[0].keys, "weights", "matrices"):
                sampled = yield from _comparisons(config, files, layer, matrix)
                pairwise.add_(pairwise_mean_absolute(sampled))

        compared = work_through(comparisons(), lambda compare: compare(), device=config.device)
        places = {key: place for place, key in enumerate(files[0].keys)}
        rows = sorted(
            (row for found in compared for row in found),
            key=lambda row: (places[row.layer, row.matrix], row.checkpoint, AGAINST.index(row.against)),
        )
        return tuple(rows), pairwise / len(files[0].keys)


def _comparisons(
    config: DriftConfig, files: Sequence[ProjectionFile], layer: int, matrix: Matrix
) -> Generator[Callable[[], list[MatrixDrift]], None, Tensor]:
    """Go through the checkpoints of one matrix, of which five are held at most, and yield each comparison to make.

    Returns:
        The same entries of every checkpoint, ``[C, n]``.
    """

    def read(index: int) -> Tensor:
        projection = files[index].read(layer, matrix)
        place = config.checkpoints[index].place
        undefined = undefined_entries(projection.weight)
        require_defined(undefined, projection.weight.numel(), projection.name, place, config.allow_undefined)
        return projection.weight

    final = len(files) - 1
    held = {final: read(final)}
    chosen = _sample(held[final].numel(), f"{layer} {matrix}").to(held[final].device)
    sampled = []
    waiting = _wanted(len(files))
    for index in range(len(files)):
        if index < final:
            held[index] = read(index)
        sampled.append(held[index].reshape(-1)[chosen].cpu())
        for pair in [pair for pair in waiting if held.keys() >= set(pair)]:
            earlier, later = pair
            before = held.get(earlier - 1) if later == earlier + 1 else None
            yield partial(
                _compare, config, (layer, matrix), pair, waiting.pop(pair), before, held[earlier], held[later]
            )
        held = {place: held[place] for place in {0, index - 1, index, final} & held.keys()}
    return torch.stack(sampled)


def _wanted(count: int) -> dict[tuple[int, int], list[tuple[int, Against]]]:
    """Return for each two checkpoints to compare, the earlier first, in which rows their drift stands.

    Of two checkpoints, and at either end of a series, several comparisons are one.
    """
    wanted: dict[tuple[int, int], list[tuple[int, Against]]] = {}
    for index in range(count):
        others: tuple[tuple[Against, int], ...] = (("previous", index - 1), ("first", 0), ("last", count - 1))
        for against, other in others:
            if other >= 0 and other != index:
                wanted.setdefault((min(index, other), max(index, other)), []).append((index, against))
    return wanted


def _compare(
    config: DriftConfig,
    key: tuple[int, Matrix],
    pair: tuple[int, int],
    places: Sequence[tuple[int, Against]],
    before: Tensor | None,
    earlier: Tensor,
    later: Tensor,
) -> list[MatrixDrift]:
    """Return the rows of two states of one matrix, and of the state before them where it has one."""
    drift = weight_drift(earlier, later)
    cosine = math.nan if before is None else update_cosine(before, earlier, later)
    step = _step_gap(config.checkpoints[pair[0]], config.checkpoints[pair[1]])
    return [
        MatrixDrift(*key, index, against, step, drift, cosine if against == "previous" else math.nan)
        for index, against in places
    ]


def _sample(entries: int, name: str) -> Tensor:
    if entries <= _SAMPLED_ENTRIES:
        return torch.arange(entries)
    generator = np.random.default_rng(derive_seed("pairwise drift", name))
    return torch.from_numpy(np.sort(generator.integers(entries, size=_SAMPLED_ENTRIES)))


def _step_gap(earlier: Checkpoint, later: Checkpoint) -> int | None:
    return None if earlier.step is None or later.step is None else later.step - earlier.step


def _require_alike(config: DriftConfig, files: Sequence[ProjectionFile]) -> None:
    """Refuse a series whose checkpoints are not of one model."""
    for checkpoint, file in zip(config.checkpoints, files, strict=True):
        first = config.checkpoints[0].place
        if file.family_name != files[0].family_name:
            raise UserError(
                f"{shown(first)} is a {files[0].family_name} and {shown(checkpoint.place)} a {file.family_name}: "
                "a series holds checkpoints of one model"
            )
        if file.keys != files[0].keys:
            raise UserError(
                f"{shown(first)} has {len(files[0].keys)} matrices and {shown(checkpoint.place)} {len(file.keys)}: "
                "a series holds checkpoints of one model"
            )
        for layer, matrix in files[0].keys:
            ours, theirs = files[0].shape(layer, matrix), file.shape(layer, matrix)
            if ours != theirs:
                raise UserError(
                    f"the {matrix} weights of layer {layer} have shape {tuple(ours)} in {shown(first)} and "
                    f"{tuple(theirs)} in {shown(checkpoint.place)}: a series holds checkpoints of one model"
                )
