"""The tables of transfer, from its draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ...probes import mean_and_std
from ...probes.transfer import TransferOutcomes, transfer_outcomes
from ...seeds import derive_seed
from ...study.names import MODEL_ITSELF, SETTING_NAMES
from ...tasks.task import Task
from ..comparison.rows import finetuning_row
from .config import TransferConfig
from .draw import TransferDraw
from .places import Patch
from .tables import PATCHED

Row = dict[str, Any]


def outcome_rows(config: TransferConfig, draws: Sequence[TransferDraw]) -> tuple[list[Row], list[Row]]:
    """Return the rows of `TRANSFER` and of `DRAWS`.

    Args:
        config: What is asked.
        draws: At least one.
    """
    alike = all(draw.cell.queries == draws[0].cell.queries for draw in draws)
    pooled: list[Row] = []
    single: list[Row] = []
    given = [list(draw.given()) for draw in draws]
    places = groupby(range(len(given[0])), key=lambda index: given[0][index][0].place)
    for _, indices in places:
        chosen = list(indices)
        patches = [given[0][index][0] for index in chosen]
        each = [
            _outcomes(config, [draw], [[of_draw[index] for index in chosen]])
            for draw, of_draw in zip(draws, given, strict=True)
        ]
        for draw, outcomes in zip(draws, each, strict=True):
            single += [{"seed": draw.cell.seed, **row} for row in _rows(patches, outcomes, draw.queries)]
        together = each[0]
        if len(draws) > 1 and alike:
            together = _outcomes(config, draws, [[of_draw[index] for index in chosen] for of_draw in given])
        pooled += _pooled(patches, together, each, draws, alike)
    return pooled, single


def _outcomes(
    config: TransferConfig,
    draws: Sequence[TransferDraw],
    given: Sequence[Sequence[tuple[Patch, Tensor, Tensor]]],
) -> TransferOutcomes:
    """Return what some updates do in some draws that have the same queries."""
    return transfer_outcomes(
        torch.stack([torch.stack([each[1] for each in of_draw], dim=1) for of_draw in given], dim=1),
        torch.stack([draw.answers.zero_shot for draw in draws], dim=1),
        torch.stack([draw.icl for draw in draws], dim=1),
        torch.stack([torch.stack([each[2] for each in of_draw], dim=1) for of_draw in given], dim=1),
        torch.stack([draw.answers.zero_shot_kl for draw in draws], dim=1),
        seed=derive_seed("bootstrap", "transfer"),
        resamples=config.resamples,
        level=config.level,
        floor=max(draw.floor for draw in draws),
    )


def _rows(patches: Sequence[Patch], outcomes: TransferOutcomes, queries: int) -> Iterator[Row]:
    for measure, interval in outcomes.intervals().items():
        for index, patch in enumerate(patches):
            yield {
                **patch_key(patch),
                "measure": measure,
                "value": float(interval.estimate[index]),
                "low": float(interval.low[index]),
                "high": float(interval.high[index]),
                "defined": int(outcomes.defined[index]),
                "of": queries,
            }


def _pooled(
    patches: Sequence[Patch],
    together: TransferOutcomes,
    each: Sequence[TransferOutcomes],
    draws: Sequence[TransferDraw],
    alike: bool,
) -> Iterator[Row]:
    for measure, interval in together.intervals().items():
        values = torch.stack([one.intervals()[measure].estimate for one in each])
        spread = mean_and_std(values)
        for index, patch in enumerate(patches):
            yield {
                **patch_key(patch),
                "measure": measure,
                "value": float(spread.mean[index]),
                "low": float(interval.low[index]) if alike else math.nan,
                "high": float(interval.high[index]) if alike else math.nan,
                "std": float(spread.std[index]),
                "draws": int(spread.count[index]),
                "defined": sum(int(one.defined[index]) for one in each),
                "of": sum(draw.queries for draw in draws),
            }


def patch_key(patch: Patch) -> Row:
    """Return the columns that tell patches apart."""
    return {
        "place": patch.place.name,
        "layer": patch.place.layer if patch.place.layers else None,
        "update": patch.update,
        "recipe": patch.recipe,
        "alpha": patch.alpha,
    }


def patched_columns(draws: Sequence[TransferDraw], task: Task) -> dict[str, list[Any]]:
    """Return the columns of `PATCHED`: zero-shot and ICL themselves, too."""
    columns: dict[str, list[Any]] = {column.name: [] for column in PATCHED.columns}
    labels = len(task.label_names)
    for draw in draws:
        itself = {"place": MODEL_ITSELF, "layer": None, "recipe": None, "alpha": 0.0}
        zero = torch.zeros(draw.queries)
        settings = [
            ({**itself, "update": SETTING_NAMES["zsl"]}, draw.answers.zero_shot, draw.answers.zero_shot_kl),
            ({**itself, "update": SETTING_NAMES["icl"]}, draw.icl, zero),
        ]
        given = [(patch_key(patch), logprobs, kl) for patch, logprobs, kl in draw.given()]
        for key, logprobs, kl in (*settings, *given):
            many = draw.queries * labels
            for name, value in {"seed": draw.cell.seed, **key}.items():
                columns[name] += [value] * many
            columns["query"] += [query for query in range(draw.queries) for _ in range(labels)]
            columns["label"] += list(task.label_names) * draw.queries
            columns["logprob"] += logprobs.reshape(-1).tolist()
            columns["vocabulary_kl"] += [value for value in kl.tolist() for _ in range(labels)]
    return columns


def query_rows(draw: TransferDraw, task: Task) -> Iterator[Row]:
    """Yield the rows of `QUERIES` of one draw."""
    for place, index in enumerate(draw.cell.queries):
        yield {
            "seed": draw.cell.seed,
            "query": place,
            "query_index": task.source_index(index),
            "text": task.template.render(task.validation[index]),
            "gold": task.label_names[int(draw.gold[place])],
            "half": int(draw.half[place]),
        }


def length_rows(draw: TransferDraw) -> Iterator[Row]:
    """Yield the rows of `LENGTHS` of one draw."""
    for (recipe, site), found in draw.lengths.items():
        means = {name: values.nanmean(dim=0).tolist() for name, values in found.items()}
        defined = (~found["cosine"].isnan()).sum(dim=0).tolist()
        for place, layer in enumerate(draw.layers):
            yield {
                "seed": draw.cell.seed,
                "recipe": recipe,
                "site": site,
                "layer": layer,
                **{name: values[place] for name, values in means.items()},
                "defined": defined[place],
                "of": draw.queries,
            }


def finetuning_rows(draw: TransferDraw) -> Iterator[Row]:
    """Yield the rows of `FINETUNING` of one draw."""
    kept = ("trained_parameters", "learning_rate", "steps", "first_loss", "final_loss")
    for recipe, source in draw.sources.items():
        row, outcome = finetuning_row(source), draw.outcomes[recipe]
        yield {
            "seed": draw.cell.seed,
            "recipe": recipe,
            **{name: row[name] for name in kept},
            "zero_shot_right": outcome.zero_shot_right,
            "icl_right": outcome.icl_right,
            "ft_right": int((draw.finetuned[recipe].argmax(dim=1) == draw.gold).sum()),
            "queries": outcome.queries,
        }
