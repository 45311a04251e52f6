"""The attention of one query, every token against every token, in each setting that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...errors import UserError
from ...hooks.capture import capture
from ...hooks.captured import Capture
from ...hooks.plan import CapturePlan
from ...models.loading import LanguageModel
from ...tasks.prompts import PromptSet
from ...tasks.task import Task
from ..cell import Cell
from ..comparison.finetuned import batch_size_for, finetune_cell
from .config import AttentionConfig, Setting


def capture_maps(
    config: AttentionConfig, model: LanguageModel, task: Task, cell: Cell
) -> dict[Setting, Capture]:
    """Record the asked query in each setting, every token's row over all columns.

    Args:
        config: What is asked.
        model: The model.
        task: The task, whose training records choose a learning rate where that is asked for.
        cell: The draw.

    Raises:
        UserError: If a layer has no attention, or finetuning fails.
    """
    place = 0 if config.query is None else cell.queries.index(config.query)
    plan = CapturePlan(sites=(config.map,), layers=config.layers, positions="prompt", columns="all")

    def mapped(prompts: PromptSet, setting: Setting) -> Capture:
        return capture(model, one_prompt(prompts, place), plan, batch_size=1, setting=setting)

    found: dict[Setting, Capture] = {}
    for setting in config.settings:
        if setting == "ft":
            size = batch_size_for(config, model, cell.prompts.zero_shot)
            delta, _ = finetune_cell(config.finetuning(), model, task, cell, size)
            with delta.applied(model):
                found[setting] = mapped(cell.prompts.zero_shot, setting)
        else:
            found[setting] = mapped(cell.prompts.icl if setting == "icl" else cell.prompts.zero_shot, setting)
    return found


def one_prompt(prompts: PromptSet, place: int) -> PromptSet:
    """Return one of the prompts."""
    return PromptSet(
        prompts.prefix_ids,
        prompts.query_ids[place : place + 1],
        prompts.label_ids[place : place + 1],
        prompts.gold[place : place + 1],
        prompts.bos_length,
        prompts.prefix_spans,
        prompts.query_spans[place : place + 1],
    )


def check_heads(config: AttentionConfig, heads: int) -> tuple[int, ...]:
    """Return the heads that are mapped.

    Raises:
        UserError: If the model has no such head.
    """
    if config.heads == "all":
        return tuple(range(heads))
    unknown = next((head for head in config.heads if head >= heads), None)
    if unknown is not None:
        raise UserError(f"there is no head {unknown}: the model has heads 0 to {heads - 1} (--heads)")
    return config.heads


def map_arrays(config: AttentionConfig, captures: dict[Setting, Capture]) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each setting: ``values`` ``[L, H, T, T]``, ``visible`` ``[L, 1, T, T]``, layers, heads."""
    found = {}
    for setting, recorded in captures.items():
        values = recorded.pattern if config.map == "pattern" else recorded.scores
        assert values is not None and recorded.visible is not None
        heads = check_heads(config, values.shape[3])
        found[f"map-{setting}"] = {
            "values": values[0][:, :, list(heads)].transpose(1, 2).contiguous().numpy(),
            "visible": recorded.visible[0].transpose(1, 2).contiguous().numpy(),
            "layers": np.array(recorded.layers),
            "heads": np.array(heads),
        }
    return found


def map_token_rows(task: Task, captures: dict[Setting, Capture]) -> Iterator[dict[str, Any]]:
    """Yield one row a token of the mapped prompts."""
    for setting, recorded in captures.items():
        assert recorded.prompts is not None
        prompt = recorded.prompts[0]
        for span in prompt.spans:
            label = None if span.label is None else task.label_names[span.label]
            for token in span.tokens:
                yield {
                    "setting": setting,
                    "token": token,
                    "id": prompt.ids[token],
                    "text": prompt.tokens[token],
                    "part": span.name,
                    "demonstration": span.demonstration,
                    "label": label,
                }


def map_bytes(config: AttentionConfig, model: LanguageModel, tokens: int) -> int:
    """Return what the maps of prompts of so many tokens take, while the largest is made and kept."""
    rows = len(config.layers) * model.geometry.heads * tokens**2
    # fp32 of the array, of the batch and of one layer's scores before they are kept; visibility for all heads.
    return len(config.settings) * 4 * rows + 3 * 4 * rows
