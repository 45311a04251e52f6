"""What a look at how sparse weights are does."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ...addresses import public
from ...on_command_line import OnCommandLine
from ...probes.options import THRESHOLDS
from ...settings import Positive
from ..configuration import numbers
from ..weights.config import WeightsConfig
from ..weights.step_names import short_name


def _once(thresholds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(thresholds))


class SparsityConfig(WeightsConfig):
    """One look at the weights of a checkpoint.

    Attributes:
        model: Hub id, directory, file, address, or an embedded model.
        revision: Branch, tag or commit; for pocket a training step.
        thresholds: The thresholds δ, relative and absolute (R14).
        stable_rank: Whether to measure stable ranks, which takes longer than all the rest.
    """

    model: Annotated[str, OnCommandLine(argument=True)] = "pocket"
    revision: str | None = None
    thresholds: Annotated[
        tuple[Positive, ...],
        BeforeValidator(numbers),
        AfterValidator(_once),
        Field(min_length=1, max_length=1000),
        OnCommandLine(("--threshold",), example="1e-2,1e-3"),
    ] = THRESHOLDS
    stable_rank: bool = True

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory: the analysis, the model and its revision."""
        return ("sparsity", short_name(public(self.model)), self.revision or "")
