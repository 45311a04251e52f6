"""Measuring where attention goes in context, and mapping one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...models.delta import Delta
from ...models.loading import LanguageModel
from ...study.finding import Finding
from ...tasks.task import Task
from ..cell import Cell, cell_of, prepare_cell
from ..comparison.facts import finetuning_facts, task_fact
from ..context import Context, Measured
from ..controls.altered_cells import changed_labels, with_permuted_labels
from ..finetuned_rows import outcome_row
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from .changes import finetuned_rows, moved_heads
from .config import AttentionConfig
from .estimate import estimate_attention
from .findings import attention_findings
from .finetuned import FinetunedDraw, measure_finetuned
from .finetuned_findings import finetuned_findings
from .maps import capture_maps, check_heads, map_arrays, map_token_rows
from .ranking import label_shares, ranked_rows
from .shares import DrawShares, measure_shares, share_rows
from .text_map import measure_text


def measure_attention(config: AttentionConfig, context: Context) -> Measured:
    """Measure shares on every draw, with and without permuted labels, and map one query of the first draw.

    Where the finetuned setting is among those asked for, every draw is finetuned on, too, and what moved is measured.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If a query, layer or head is not there, or finetuning fails.
    """
    subject = context.subject(config)
    config, model, task = subject.named(config), subject.model, subject.task
    check_heads(config, model.geometry.heads)
    if config.text is not None:
        return measure_text(config, model)
    cells = [prepare_cell(config, model, task, seed) for seed in config.seeds]
    mapped = cells[0]
    if config.query is not None and config.query not in mapped.queries:
        mapped = cell_of(config, model, task, mapped.seed, mapped.demonstrations, (config.query,))
    views = [view_prompt(model, task, mapped, config.query)]
    context.say(estimate_attention(config, model, cells))
    draws: list[DrawShares] = []
    notes: list[Finding] = []
    for cell in cells:
        draws.append(measure_shares(config, model, cell, "none"))
        if not config.permuted_labels:
            continue
        permuted = with_permuted_labels(config, model, task, cell)
        if changed_labels(cell, permuted) == 0:
            notes.append(_same_labels(cell))
            continue
        draws.append(measure_shares(config, model, permuted, "permuted_labels"))
    ranked = ranked_rows(config, draws)
    asked = len(set.intersection(*(set(cell.queries) for cell in cells)))
    finetuned, delta = _finetuned(config, model, task, cells)
    moved = moved_heads(config, ranked, label_shares(_own(draws)), finetuned) if finetuned else None
    layers = (ranked[0]["layer"],) if config.layers == "auto" else config.layers
    maps = capture_maps(config, model, mapped, layers, delta)
    return Measured(
        config,
        {
            "ranked": ranked,
            **share_rows(config, draws),
            "queries": [row for draw in draws for row in _query_rows(draw, task)],
            "map_tokens": list(map_token_rows(task.label_names, maps)),
            "finetuned": finetuned_rows(config, ranked, finetuned) if finetuned else [],
            "finetuning": [outcome_row(draw.cell.seed, draw.finetuned, draw.outcome) for draw in finetuned],
            "prompts": prompt_rows(views),
            "facts": [*_facts(config, model, task, draws, finetuned), *prompt_facts(views)],
        },
        (
            *attention_findings(config, ranked, asked),
            *(() if moved is None else finetuned_findings(config, moved, finetuned, asked)),
            *notes,
            *prompt_warnings(views),
        ),
        {**_share_arrays(draws), **_change_arrays(finetuned), **map_arrays(config, maps)},
    )


def _finetuned(
    config: AttentionConfig, model: LanguageModel, task: Task, cells: Sequence[Cell]
) -> tuple[list[FinetunedDraw], Delta | None]:
    """Measure the finetuned setting of every draw, where it is asked for, and keep what the first one changed."""
    if "ft" not in config.settings:
        return [], None
    draws, first = [], None
    for cell in cells:
        draw, delta = measure_finetuned(config, model, task, cell)
        draws.append(draw)
        first = first or delta
    return draws, first


def _own(draws: Sequence[DrawShares]) -> list[DrawShares]:
    return [draw for draw in draws if draw.control == "none"]


def _same_labels(cell: Cell) -> Finding:
    return Finding(
        "permuted labels",
        f"the demonstrations of seed {cell.seed} have one label, which cannot be permuted",
        "warning",
        where={"seed": cell.seed},
    )


def _query_rows(draw: DrawShares, task: Task) -> list[dict[str, Any]]:
    names, prompts = task.label_names, draw.cell.prompts.icl
    records = [task.validation[index] for index in draw.cell.queries]
    return [
        {
            "control": draw.control,
            "seed": draw.cell.seed,
            "query": place,
            "query_index": record.index,
            "text": " ".join(record.fields.values()),
            "gold": names[prompts.gold[place]],
            "prediction": names[int(draw.prediction[place])],
        }
        for place, record in enumerate(records)
    ]


def _facts(
    config: AttentionConfig,
    model: LanguageModel,
    task: Task,
    draws: Sequence[DrawShares],
    finetuned: Sequence[FinetunedDraw],
) -> list[dict[str, str]]:
    own = _own(draws)
    right = [
        float((draw.prediction == torch.tensor(draw.cell.prompts.icl.gold)).double().mean()) for draw in own
    ]
    seeds = f"seed{'s' * (len(config.seeds) > 1)} {', '.join(map(str, config.seeds))}"
    facts: Mapping[str, str] = {
        "model": f"{config.model}, {len(model.parts)} layers of {model.geometry.heads} heads",
        "task": task_fact(config.task, task.label_names, config.template or task.template.name),
        "demonstrations": f"{own[0].cell.prompts.demonstrations_used} of {config.shots} shots used, {seeds}",
        "queries": f"{own[0].cell.prompts.icl.n}, {np.mean(right):.1%} of them answered right in context",
        **dict(
            finetuning_facts(config.finetuning(), [draw.finetuned for draw in finetuned]) if finetuned else ()
        ),
    }
    return [{"name": name, "text": text} for name, text in facts.items()]


def _change_arrays(draws: Sequence[FinetunedDraw]) -> dict[str, dict[str, np.ndarray]]:
    """Return the changes of every query, so that any interval can be computed again."""
    return {
        f"changes-seed{draw.cell.seed}": {
            **{name: getattr(draw, name).numpy() for name in ("icl", "ft", "same", "same_null")},
            "layers": np.array(draw.layers),
        }
        for draw in draws
    }


def _share_arrays(draws: Sequence[DrawShares]) -> dict[str, dict[str, np.ndarray]]:
    """Return the shares of every query, so that any interval can be computed again."""
    return {
        f"shares-{draw.control}-seed{draw.cell.seed}": {
            "shares": draw.mass.shares.numpy(),
            "even": draw.mass.uniform.numpy(),
            "layers": np.array(draw.layers),
        }
        for draw in draws
    }
