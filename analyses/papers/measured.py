"""A measured number of an experiment, in the place where a paper has its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...probes import mean_and_std


@dataclass(frozen=True)
class Measured:
    """A number measured, with its spread.

    Attributes:
        row: The row of the experiment's table.
        column: The column.
        value: Mean over draws of demonstrations (and layers drawn), or the number itself.
        std: Standard deviation over those (ddof 1); NaN of a single one.
        draws: How many.
    """

    row: str
    column: str
    value: float
    std: float = math.nan
    draws: int = 1


def over_repetitions(row: str, column: str, values: Sequence[float]) -> Measured:
    """Return mean and standard deviation of a number's repetitions, leaving NaN out.

    Args:
        row: The row of the table.
        column: The column.
        values: One for each repetition.
    """
    if not values:
        return Measured(row, column, math.nan, math.nan, 0)
    result = mean_and_std([float(value) for value in values])
    return Measured(row, column, float(result.mean), float(result.std), int(result.count))
