"""What a look at how sparse weights are does."""

from __future__ import annotations

from pydantic import Field

from ...probes.options import THRESHOLDS
from ...settings import Positive
from .config import WeightsConfig


class SparsityConfig(WeightsConfig):
    """One look at the weights of a checkpoint.

    Attributes:
        model: Hub id, directory, file, or an embedded model.
        revision: Branch, tag or commit; for ``pocket`` a training step.
        thresholds: The thresholds δ, relative and absolute (R14).
        stable_rank: Whether to measure stable ranks, which takes longer than all the rest.
    """

    model: str = "pocket"
    revision: str | None = None
    thresholds: tuple[Positive, ...] = Field(default=THRESHOLDS, min_length=1, max_length=1000)
    stable_rank: bool = True
