"""The heads that look at labels beside all others: how far ICL and finetuning move them, over all draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...probes import Interval, bootstrap_mean
from ...seeds import derive_seed
from .config import AttentionConfig
from .finetuned import FinetunedDraw
from .ranking import over_draws, with_ends

Ends = tuple[float, float, float]
"""A number, and the lower and the upper end of its interval."""


@dataclass(frozen=True)
class Moved:
    """How far the heads that look at labels are moved, and the others of the same layers.

    Attributes:
        heads: How many heads look at labels.
        others: How many others the same layers have.
        ft: Total variation by finetuning, mean over the heads that look at labels.
        ft_others: The same of the others.
        ft_more: How much more of the former than of the latter.
        icl: Total variation by ICL, mean over the heads that look at labels.
        icl_others: The same of the others.
        same: SimAM of the changes of the heads that look at labels.
        same_null: Its null.
        by_labels: Spearman's correlation, over all heads, of the share on labels with the change by finetuning.
        by_icl: The same of the change by ICL with the change by finetuning.
    """

    heads: int
    others: int
    ft: Ends
    ft_others: Ends
    ft_more: Ends
    icl: Ends
    icl_others: Ends
    same: Ends
    same_null: Ends
    by_labels: Ends
    by_icl: Ends


def finetuned_rows(
    config: AttentionConfig, ranked: Sequence[Mapping[str, Any]], draws: Sequence[FinetunedDraw]
) -> list[dict[str, Any]]:
    """Return one row a head, in the order of the ranking by labels.

    Args:
        config: What is asked.
        ranked: The rows of the table ``ranked``.
        draws: The draws.
    """
    cells, layers = [draw.cell for draw in draws], draws[0].layers
    columns: dict[str, Tensor] = {}
    for name in ("icl", "ft", "same"):
        columns |= with_ends(config, name, over_draws([getattr(draw, name) for draw in draws], cells))
    columns["same_null"] = over_draws([draw.same_null for draw in draws], cells).nanmean(0)
    columns["same_defined"] = over_draws([(~draw.same.isnan()).double() for draw in draws], cells).mean(0)
    columns["ft_rounding"] = over_draws([draw.ft_is_rounding.double() for draw in draws], cells).mean(0)
    chosen = label_heads(ranked)
    return [
        {
            "layer": row["layer"],
            "head": row["head"],
            "labels": row["labels"],
            "label_head": (row["layer"], row["head"]) in chosen,
            **{
                name: float(values[layers.index(row["layer"]), row["head"]])
                for name, values in columns.items()
            },
        }
        for row in ranked
    ]


def label_heads(ranked: Sequence[Mapping[str, Any]]) -> set[tuple[int, int]]:
    """Return layer and head of the heads that look at labels.

    They have at least half the share on labels of the head with the most, and more than an even row has.
    """
    most = max(row["labels"] for row in ranked)
    return {
        (row["layer"], row["head"])
        for row in ranked
        if row["labels"] >= most / 2 and row["labels_low"] > row["labels_even"]
    }


def moved_heads(
    config: AttentionConfig,
    ranked: Sequence[Mapping[str, Any]],
    labels: Tensor,
    draws: Sequence[FinetunedDraw],
) -> Moved:
    """Compare how far the heads that look at labels and the others of their layers are moved.

    Queries are resampled, all heads together; which heads look at labels is not asked anew.

    Args:
        config: What is asked.
        ranked: The rows of the table ``ranked``.
        labels: Share on labels of every query, ``[N, L, H]``.
        draws: The draws.
    """
    cells, layers = [draw.cell for draw in draws], draws[0].layers
    chosen = torch.zeros(labels.shape[1:], dtype=torch.bool)
    for layer, head in label_heads(ranked):
        chosen[layers.index(layer), head] = True
    others = chosen.any(1, keepdim=True) & ~chosen
    arrays = [
        labels,
        *(
            over_draws([getattr(draw, name) for draw in draws], cells)
            for name in ("icl", "ft", "same", "same_null")
        ),
    ]

    def statistic(means: Tensor) -> Tensor:
        share, icl, ft, same, null = means.unbind(1)
        of_labels, of_others = (
            [each[:, heads].nanmean(1) for each in (ft, icl, same, null)] for heads in (chosen, others)
        )
        return torch.stack(
            [
                of_labels[0],
                of_others[0],
                of_labels[0] - of_others[0],
                of_labels[1],
                of_others[1],
                *of_labels[2:],
                spearman(share.flatten(1), ft.flatten(1)),
                spearman(icl.flatten(1), ft.flatten(1)),
            ],
            dim=1,
        )

    found = bootstrap_mean(
        torch.stack(arrays, dim=1),
        seed=derive_seed("bootstrap", config.seeds[0]),
        resamples=config.resamples,
        level=config.level,
        statistic=statistic,
    )
    return Moved(int(chosen.sum()), int(others.sum()), *_ends(found))


def _ends(interval: Interval) -> list[Ends]:
    columns = (interval.estimate, interval.low, interval.high)
    return [
        (float(value), float(low), float(high))
        for value, low, high in zip(*(column.tolist() for column in columns), strict=True)
    ]


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each row of ``[R, K]`` with that of the other, ``[R]``.

    Numbers that are the same share a rank. What is missing in one of the two is left out of both. NaN where all ranks
    of one are the same.
    """
    missing = first.isnan() | second.isnan()
    ranks = [_ranks(each.masked_fill(missing, torch.inf)) for each in (first, second)]
    counted = (~missing).to(first.dtype)
    count = counted.sum(1, keepdim=True)
    one, other = ((each - (each * counted).sum(1, keepdim=True) / count) * counted for each in ranks)
    return (one * other).sum(1) / (one.square().sum(1) * other.square().sum(1)).sqrt()


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each number in its row, the mean of their ranks where several are the same."""
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto - 1).to(values.dtype) / 2
