"""What giving updates will take, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...hooks.batching import bytes_per_prompt, choose_batch_size
from ...models.loading import LanguageModel
from ...models.recipe import Recipe
from ..cell import Cell, prepare_cell
from ..comparison.cells import recipes_of
from ..comparison.estimate import estimate_comparisons
from ..comparison.pace import measure_pace
from ..context import Context
from ..needed import Needed
from .config import TransferConfig
from .patched import batch_rows
from .places import Patch, patches_of, places_of

# Writing makes a forward of short rows longer by so much.
_WRITING = 1.3
_BYTES_A_RUN = 400_000
# Of a label of a query under an update: in a table, and as text in its file.
_BYTES_IN_MEMORY, _BYTES_ON_DISK = 600, 180


@dataclass(frozen=True)
class Estimate:
    """Memory and time of all draws.

    Attributes:
        rows: Last tokens that run, over all draws.
        seconds: How long.
        memory_bytes: The most memory at once.
        disk_bytes: Of the run directory.
    """

    rows: int
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def describe(self) -> str:
        """Return one line."""
        return (
            f"estimate: {self.rows:,} last tokens run, {self.memory_bytes / 1e9:.2f} GB, about "
            f"{max(1, round(self.seconds))} s"
        )


def estimate_transfer(
    config: TransferConfig,
    model: LanguageModel,
    cells: Sequence[Cell],
    recipes: Sequence[Recipe],
    patches: Sequence[Patch],
) -> Estimate:
    """Estimate from the prompts' lengths, the model's shapes and a few timed forwards.

    Args:
        config: What is asked.
        model: The model.
        cells: The draws.
        recipes: How to finetune.
        patches: The rows of every query.
    """
    compared = estimate_comparisons(model, [(cells[0], [config.finetuning(recipe) for recipe in recipes])])
    pace = measure_pace(model)
    lengths = [
        len(cells[0].prompts.zero_shot.full_ids(query)) for query in range(cells[0].prompts.zero_shot.n)
    ]
    size = batch_rows(len(patches), choose_batch_size(model, 1, max(lengths)))
    batches = math.ceil(len(patches) / size) + 1
    rows = batches * size
    seconds = sum(
        pace.seconds(1, length - 1, 0) + _WRITING * pace.seconds(batches, rows, rows) for length in lengths
    )
    labels = len(cells[0].prompts.zero_shot.label_ids[0])
    kept = len(cells) * len(patches) * len(lengths) * labels
    batch = size * bytes_per_prompt(model, 1, max(lengths))
    return Estimate(
        rows=len(cells) * rows * len(lengths),
        seconds=len(cells) * (compared.seconds + compared.search_seconds + seconds),
        memory_bytes=compared.total_bytes + batch + kept * _BYTES_IN_MEMORY,
        disk_bytes=_BYTES_A_RUN + kept * _BYTES_ON_DISK,
    )


def transfer_needs(config: TransferConfig, context: Context) -> Needed:
    """Estimate what a run takes.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If they cannot be loaded, or prompts cannot be built.
    """
    recipes = recipes_of(config.recipes)
    subject = context.subject(config)
    patches = patches_of(places_of(config, subject.model), tuple(recipes))
    cells = [prepare_cell(config, subject.model, subject.task, seed) for seed in config.seeds]
    found = estimate_transfer(config, subject.model, cells, tuple(recipes.values()), patches)
    return Needed(found.seconds, found.memory_bytes, found.disk_bytes)
