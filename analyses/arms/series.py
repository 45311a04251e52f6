"""Rows of a study put together: one series over epochs for each arm and learning rate, with its spread over draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ICL, ZERO_SHOT = "ICL", "zero-shot"


@dataclass(frozen=True)
class ArmRow:
    """What every row of a study of arms begins with.

    Attributes:
        model: The model.
        task: The task.
        shots: Demonstrations asked for.
        seed: The draw of demonstrations.
        arm: ``ICL``, ``zero-shot``, or how it was finetuned.
        layer: The drawn layer, counted from 0; None where none was.
        learning_rate: The learning rate; None of ICL and zero-shot.
        chosen: Whether the rate was chosen on held-out training records.
        epoch: Counted from 1; None of ICL and zero-shot.
    """

    model: str
    task: str
    shots: int
    seed: int
    arm: str
    layer: int | None
    learning_rate: float | None
    chosen: bool
    epoch: int | None


@dataclass(frozen=True, eq=False)
class Series:
    """One measure of one arm at one learning rate.

    Attributes:
        model: The model.
        shots: Demonstrations.
        arm: The arm.
        learning_rates: The rate; where it was chosen for each draw, every one that was.
        chosen: Whether it was.
        epochs: E epochs in order; one, None, of ICL and zero-shot.
        values: Over draws of demonstrations and drawn layers, ``[R, E]``; NaN where it diverged.
    """

    model: str
    shots: int
    arm: str
    learning_rates: tuple[float, ...]
    chosen: bool
    epochs: tuple[int | None, ...]
    values: np.ndarray

    @property
    def rate_name(self) -> str:
        """The learning rate as a cell; a dash of ICL and zero-shot."""
        if not self.learning_rates:
            return "–"
        low, high = min(self.learning_rates), max(self.learning_rates)
        if not self.chosen:
            return f"{low:g}"
        return f"auto ({low:g})" if low == high else f"auto ({low:g} to {high:g})"

    @property
    def mean(self) -> np.ndarray:
        """Mean over draws, ``[E]``; NaN where every one diverged."""
        return np.array([_mean(column) for column in self.values.T])

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation over draws, ``[E]``."""
        return np.array([_std(column) for column in self.values.T])

    @property
    def most(self) -> np.ndarray:
        """The largest value over epochs of each draw, ``[R]``; NaN where it diverged."""
        return np.array(
            [math.nan if np.isnan(draw).all() else float(np.nanmax(draw)) for draw in self.values]
        )

    @property
    def diverged(self) -> int:
        """How many draws diverged."""
        return int(np.isnan(self.values[:, -1]).sum())


def series_of(rows: Sequence[ArmRow], measure: str) -> tuple[Series, ...]:
    """Group rows by model, shots, arm and learning rate, in the order in which they come.

    A rate that was chosen for each draw makes one series with the others of its arm.

    Args:
        rows: Rows of one study.
        measure: The name of the number.
    """
    groups: dict[tuple[str, int, str, float | None], list[ArmRow]] = {}
    for row in rows:
        key = row.model, row.shots, row.arm, None if row.chosen else row.learning_rate
        groups.setdefault(key, []).append(row)
    return tuple(_series(key, group, measure) for key, group in groups.items())


def _series(key: tuple[str, int, str, float | None], group: Sequence[ArmRow], measure: str) -> Series:
    epochs = tuple(sorted({row.epoch for row in group}, key=lambda epoch: epoch or 0))
    draws = tuple(dict.fromkeys((row.seed, row.layer) for row in group))
    values = np.full((len(draws), len(epochs)), math.nan)
    for row in group:
        values[draws.index((row.seed, row.layer)), epochs.index(row.epoch)] = getattr(row, measure)
    rates = tuple(dict.fromkeys(row.learning_rate for row in group if row.learning_rate is not None))
    return Series(key[0], key[1], key[2], rates, group[0].chosen, epochs, values)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _std(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.std()) if len(defined) else math.nan
