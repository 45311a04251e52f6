"""The settings of one draw that updates are differences of: zero-shot, in context, and finetuned by each recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...hooks.captured import Capture
from ...models.recipe import Recipe
from ...probes import Floors
from ..cell import Cell
from ..comparison.draw import FinetunedSetting
from ..comparison.finetuned import batch_size_for, finetune_cell
from ..comparison.rounding import last_position
from ..comparison.settings import capture_setting
from ..subject import Subject
from .config import TransferConfig


@dataclass(frozen=True, eq=False)
class Settings:
    """What was recorded of the queries of one draw at the last token of the prompt.

    Attributes:
        zero_shot: The zero-shot setting.
        icl: The in-context setting.
        finetuned: The finetuned setting of each recipe.
        sources: Where the weights of each came from.
        floors: Up to which length, relative to zero-shot, an update is only rounding.
    """

    zero_shot: Capture
    icl: Capture
    finetuned: Mapping[str, Capture]
    sources: Mapping[str, FinetunedSetting]
    floors: Floors


def record_settings(
    config: TransferConfig, subject: Subject, cell: Cell, recipes: Mapping[str, Recipe]
) -> Settings:
    """Record every setting of one draw; the model is left as it was.

    Args:
        config: What is asked.
        subject: The model and the task.
        cell: The draw.
        recipes: How to finetune, by name.

    Raises:
        UserError: If finetuning fails, or what the model computes is no number.
    """
    model, prompts = subject.model, cell.prompts.zero_shot
    compared = {name: config.finetuning(recipe) for name, recipe in recipes.items()}
    first = next(iter(compared.values()))
    # Only equal batches give equal roundings.
    size = batch_size_for(first, model, prompts)
    zero_shot = capture_setting(first.model_copy(update={"batch_size": size}), model, prompts, "zsl", None)
    icl = capture_setting(first, model, cell.prompts.icl, "icl", None)
    finetuned: dict[str, Capture] = {}
    sources: dict[str, FinetunedSetting] = {}
    for name, cell_config in compared.items():
        delta, sources[name] = finetune_cell(cell_config, model, subject.task, cell, size)
        batched = cell_config.model_copy(update={"batch_size": size})
        with delta.applied(model):
            finetuned[name] = capture_setting(batched, model, prompts, "ft", None)
    dtype = getattr(torch, zero_shot.manifest["dtype"])
    return Settings(zero_shot, icl, finetuned, sources, Floors.of(dtype, last_position(zero_shot, icl)))
