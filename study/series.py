"""Rows of arms put together: one series over epochs for each arm and learning rate, with its spread over draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .columns import Frame


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
        layers: The layers drawn, if any were.
    """

    model: str
    shots: int
    arm: str
    learning_rates: tuple[float, ...]
    chosen: bool
    epochs: tuple[int | None, ...]
    values: np.ndarray
    layers: tuple[int, ...] = ()

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


def series_of(rows: Frame, measure: str) -> tuple[Series, ...]:
    """Group rows by model, shots, arm and learning rate, in the order in which they come.

    A rate that was chosen for each draw makes one series with the others of its arm.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
        measure: The column of the number.
    """
    groups: dict[tuple[str, int, str, float | None], list[Mapping[str, Any]]] = {}
    columns = ["model", "shots", "seed", "arm", "layer", "learning_rate", "chosen", "epoch", measure]
    records = rows[columns].astype(object).where(rows[columns].notna(), None).to_dict("records")
    for row in records:
        key = row["model"], row["shots"], row["arm"], None if row["chosen"] else row["learning_rate"]
        groups.setdefault(key, []).append(row)
    return tuple(_series(key, group, measure) for key, group in groups.items())


def _series(
    key: tuple[str, int, str, float | None], group: Sequence[Mapping[str, Any]], measure: str
) -> Series:
    epochs = tuple(sorted({row["epoch"] for row in group}, key=lambda epoch: epoch or 0))
    draws = tuple(dict.fromkeys((row["seed"], row["layer"]) for row in group))
    values = np.full((len(draws), len(epochs)), math.nan)
    for row in group:
        if row[measure] is not None:
            values[draws.index((row["seed"], row["layer"])), epochs.index(row["epoch"])] = row[measure]
    rates = tuple(dict.fromkeys(row["learning_rate"] for row in group if row["learning_rate"] is not None))
    layers = tuple(dict.fromkeys(layer for _, layer in draws if layer is not None))
    return Series(key[0], key[1], key[2], rates, bool(group[0]["chosen"]), epochs, values, layers)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _std(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.std()) if len(defined) else math.nan
