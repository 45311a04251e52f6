"""Measuring where attention goes in context, and mapping one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...hooks.batching import bytes_per_prompt, choose_batch_size, held_memory
from ...models.loading import LanguageModel
from ...study.finding import Finding
from ...tasks.task import Task
from ..cell import Cell, cell_of, prepare_cell
from ..context import Context, Measured
from ..controls.altered_cells import changed_labels, with_permuted_labels
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from .config import AttentionConfig
from .findings import attention_findings
from .maps import capture_maps, check_heads, map_arrays, map_bytes, map_token_rows
from .prompt_parts import PARTS
from .ranking import ranked_rows
from .shares import DrawShares, measure_shares, share_rows
from .text_map import measure_text

_KEPT_BY_THE_ALLOCATOR = 1.1


def measure_attention(config: AttentionConfig, context: Context) -> Measured:
    """Measure shares on every draw, with and without permuted labels, and map one query of the first draw.

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
    context.say(_estimate(config, model, cells))
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
    maps = capture_maps(config, model, task, mapped)
    ranked = ranked_rows(config, draws)
    asked = len(set.intersection(*(set(cell.queries) for cell in cells)))
    return Measured(
        config,
        {
            "ranked": ranked,
            **share_rows(config, draws),
            "queries": [row for draw in draws for row in _query_rows(draw, task)],
            "map_tokens": list(map_token_rows(task.label_names, maps)),
            "prompts": prompt_rows(views),
            "facts": [*_facts(config, model, task, draws), *prompt_facts(views)],
        },
        (*attention_findings(config, ranked, asked), *notes, *prompt_warnings(views)),
        {**_share_arrays(draws), **map_arrays(config, maps)},
    )


def _estimate(config: AttentionConfig, model: LanguageModel, cells: Sequence[Cell]) -> str:
    """Say what memory the process takes: what it holds, one batch with its rows, the shares of all, the maps."""
    prompts = [cell.prompts.icl for cell in cells]
    longest = max(each.longest for each in prompts)
    queries = max(len(ids) for each in prompts for ids in each.query_ids)
    past = max(len(each.prefix_ids) for each in prompts)
    size = config.batch_size if config.batch_size != "auto" else choose_batch_size(model, queries, past)
    size = min(size, max(each.n for each in prompts))
    rows = len(model.parts) * model.geometry.heads
    # Patterns in fp32 as they are recorded and put together, in float64, and where hidden tokens are taken out.
    batch = size * (bytes_per_prompt(model, queries, past) + rows * longest * (4 + 4 + 8 + 8))
    controls = 1 + config.permuted_labels
    shares = sum(each.n for each in prompts) * controls * rows * len(PARTS) * 8
    # The model is loaded, and with it its tokenizer, the records and the libraries.
    held = max(held_memory(), sum(parameter.nbytes for parameter in model.module.parameters()))
    maps = map_bytes(config, model, longest)
    # The demonstrations run once before the queries; an allocator keeps some of what was given back.
    prefix = bytes_per_prompt(model, past, 0)
    total = held + shares + _KEPT_BY_THE_ALLOCATOR * (prefix + max(batch, maps))
    return (
        f"estimate: {total / 1e9:.2f} GB ({held / 1e9:.2f} held with the model, {(prefix + batch) / 1e9:.2f} a batch "
        f"of {size}, {shares / 1e9:.2f} shares, {maps / 1e9:.2f} maps)"
    )


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
    config: AttentionConfig, model: LanguageModel, task: Task, draws: Sequence[DrawShares]
) -> list[dict[str, str]]:
    own = [draw for draw in draws if draw.control == "none"]
    right = [
        float((draw.prediction == torch.tensor(draw.cell.prompts.icl.gold)).double().mean()) for draw in own
    ]
    seeds = f"seed{'s' * (len(config.seeds) > 1)} {', '.join(map(str, config.seeds))}"
    facts: Mapping[str, str] = {
        "model": f"{config.model}, {len(model.parts)} layers of {model.geometry.heads} heads",
        "task": f"{config.task} ({', '.join(task.label_names)})",
        "demonstrations": f"{own[0].cell.prompts.demonstrations_used} of {config.shots} shots used, {seeds}",
        "queries": f"{own[0].cell.prompts.icl.n}, {np.mean(right):.1%} of them answered right in context",
    }
    return [{"name": name, "text": text} for name, text in facts.items()]


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
