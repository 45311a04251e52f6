"""What a study of the construction does: one configuration for Python, YAML and the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...on_command_line import OnCommandLine
from ...settings import BatchSize, Positive, Seed, Settings
from ..configuration import numbers
from ..public_settings import without_secrets

NO_DEMONSTRATIONS = (
    "the construction divides by the number of demonstrations, so it needs at least one: give 1 or more"
)


def _none(value: Any) -> Any:
    """Read the ``none`` of a command line or a YAML file."""
    return None if value == "none" else value


MOST_ENTRIES = 1_000_000_000
"""Numbers of all demonstrations of one step, or of one comparison: 4 GB in float32."""

_Positives = Annotated[tuple[Positive, ...], BeforeValidator(numbers), Field(min_length=1, max_length=1000)]
_Counts = Annotated[
    tuple[Annotated[int, Field(le=100_000)], ...],
    BeforeValidator(numbers),
    Field(min_length=1, max_length=1000),
]
_Size = Annotated[int, Field(ge=1, le=1000)]
_Steps = Annotated[int, Field(ge=1, le=10_000_000)]


class ConstructionConfig(Settings):
    """One linear self-attention layer, trained for in-context regression and compared with gradient descent.

    The defaults are von Oswald et al.'s setting for one layer, as their public code has it, but for the cosine
    schedule, under which half of their 5000 steps come closer to gradient descent (theirs is ``constant``).

    Attributes:
        n_x: N_x, entries of x.
        n_y: N_y, entries of y.
        demonstrations: N, of each task in training.
        input_range: x ~ U(-½, ½) · range.
        weight_scale: Entries of W ~ N(0, scale²).
        steps: Steps of Adam, each on tasks that were never seen before.
        batch_size: Tasks of one step.
        learning_rate: Of Adam.
        schedule: How the learning rate runs: ``cosine`` to zero, or ``constant``.
        clip: Largest L2 norm of the gradient over all four matrices.
        init_scale: Entries of the first matrices ~ N(0, scale / d).
        evaluate_every: Steps between comparisons with gradient descent.
        evaluation_tasks: Tasks of each comparison, and of the search for GD's step size.
        input_scales: Factors on x, for inputs out of distribution.
        weight_scales: Factors on W.
        demonstration_counts: Numbers of demonstrations besides training's.
        interpolation_points: Points on the line between the two weight sets, ends included.
        ridge_penalties: λ of the ridge estimators.
        probe_queries: Fresh inputs by which implicit weights are found.
        seed: Of every random draw.
        model: A model pretrained on text, whose weights stand beside: hub id, directory, file, or an embedded
            model; ``none`` leaves it out.
        revision: Branch, tag or commit of the model; for ``pocket`` a training step.
    """

    n_x: _Size = 10
    n_y: _Size = 1
    demonstrations: int = Field(default=10, le=100_000)
    input_range: Positive = 1.0
    weight_scale: Positive = 1.0
    steps: _Steps = 2500
    batch_size: BatchSize = 2048
    learning_rate: Annotated[Positive, OnCommandLine(("--lr",))] = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: Positive = 1e-3
    init_scale: Positive = 2e-3
    evaluate_every: _Steps = 100
    evaluation_tasks: BatchSize = 10_000
    input_scales: _Positives = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    weight_scales: _Positives = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
    demonstration_counts: _Counts = (1, 2, 5, 10, 20, 40, 80)
    interpolation_points: int = Field(default=21, ge=2, le=10_000)
    ridge_penalties: _Positives = (0.1, 0.5, 1.0)
    probe_queries: int = Field(default=64, ge=1, le=100_000)
    seed: Seed = 0
    model: Annotated[str | None, BeforeValidator(_none)] = "pocket"
    revision: str | None = None

    def __repr_args__(self) -> Any:
        """Show no secret of an address."""
        return [(name, without_secrets(value)) for name, value in super().__repr_args__()]

    @field_validator("demonstrations")
    @classmethod
    def _some_demonstrations(cls, count: int) -> int:
        if count < 1:
            raise ValueError(NO_DEMONSTRATIONS)
        return count

    @field_validator("demonstration_counts")
    @classmethod
    def _some_demonstrations_each(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if min(counts) < 1:
            raise ValueError(NO_DEMONSTRATIONS)
        return counts

    @field_validator("probe_queries")
    @classmethod
    def _no_fewer_than_coefficients(cls, count: int, info: Any) -> int:
        coefficients = info.data.get("n_x", 0) + 1
        if count < coefficients:
            raise ValueError(
                f"N_x weights and an intercept take {coefficients} queries: give that many or more"
            )
        return count

    @model_validator(mode="after")
    def _fits_into_memory(self) -> ConstructionConfig:
        counts = max(self.demonstrations, *self.demonstration_counts) + 1
        entries = max(self.batch_size * (self.demonstrations + 1), self.evaluation_tasks * counts)
        entries *= self.n_x + self.n_y
        if entries > MOST_ENTRIES:
            raise ValueError(
                f"the demonstrations of one step or comparison hold {entries:,} numbers and at most "
                f"{MOST_ENTRIES:,} fit: lower batch_size, evaluation_tasks, n_x or the demonstrations"
            )
        return self

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory: the analysis, the sizes and the seed."""
        return (
            "construction",
            f"{self.n_x}x{self.n_y}-{self.demonstrations}demonstrations",
            f"seed{self.seed}",
        )
