"""Heads ranked by how much they look at the demonstrations' labels, and at the right ones, over all draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...probes import mean_and_std, preference
from ..cell import Cell
from .config import AttentionConfig
from .prompt_parts import PARTS
from .shares import DrawShares, bootstrapped

_LABELS, _RIGHT, _OTHER = (PARTS.index(part) for part in ("labels", "right labels", "other labels"))
_PREDICTED, _NOT_PREDICTED = (PARTS.index(part) for part in ("predicted labels", "labels not predicted"))


def ranked_rows(config: AttentionConfig, draws: Sequence[DrawShares]) -> list[dict[str, Any]]:
    """Return one row a head, those that look at labels most first.

    Values are averaged over draws query by query, and queries are resampled.

    Args:
        config: What is asked.
        draws: The draws, with and without control.
    """
    own = [draw for draw in draws if draw.control == "none"]
    permuted = [draw for draw in draws if draw.control != "none"]
    layers, heads = own[0].layers, own[0].mass.shares.shape[2]
    columns: dict[str, Tensor] = {}
    cells = [draw.cell for draw in own]
    columns |= with_ends(config, "labels", label_shares(own))
    even = over_draws([draw.mass.uniform.expand_as(draw.mass.shares)[..., _LABELS] for draw in own], cells)
    columns["labels_even"] = even.mean(0)
    each = [preference(draw.mass, _RIGHT, _OTHER) for draw in own]
    columns |= with_ends(config, "right", over_draws(each, cells))
    columns["right_std"] = mean_and_std(torch.stack([values.nanmean(0) for values in each])).std
    answered = [preference(draw.mass, _PREDICTED, _NOT_PREDICTED) for draw in own]
    columns["predicted"] = over_draws(answered, cells).nanmean(0)
    if permuted:
        again = over_draws(
            [preference(draw.mass, _RIGHT, _OTHER) for draw in permuted], [draw.cell for draw in permuted]
        )
        columns |= with_ends(config, "right_permuted", again)
    names = ("right_permuted", "right_permuted_low", "right_permuted_high")
    missing = {name: math.nan for name in names if name not in columns}
    rows = [
        {
            "layer": layer,
            "head": head,
            **{name: float(values[place, head]) for name, values in columns.items()},
            **missing,
        }
        for place, layer in enumerate(layers)
        for head in range(heads)
    ]
    return sorted(rows, key=lambda row: -row["labels"])


def label_shares(draws: Sequence[DrawShares]) -> Tensor:
    """Return the share on labels of each query that every draw asks, mean over draws, ``[N, L, H]``.

    Args:
        draws: The draws, without control.
    """
    return over_draws([draw.mass.shares[..., _LABELS] for draw in draws], [draw.cell for draw in draws])


def over_draws(values: Sequence[Tensor], cells: Sequence[Cell]) -> Tensor:
    """Return the mean over draws of ``[N, L, H]`` for each query that every draw asks; NaN is left out.

    Args:
        values: One array a draw.
        cells: The draws.
    """
    asked = set.intersection(*(set(cell.queries) for cell in cells))
    chosen = [
        value[[place for place, query in enumerate(cell.queries) if query in asked]]
        for value, cell in zip(values, cells, strict=True)
    ]
    return torch.stack(chosen).nanmean(0)


def with_ends(config: AttentionConfig, name: str, values: Tensor) -> dict[str, Tensor]:
    """Return the mean over queries of ``[N, L, H]`` with the ends of its interval, as three columns ``[L, H]``."""
    layers = [bootstrapped(config, values[:, place], config.seeds[0]) for place in range(values.shape[1])]
    mean, low, high = (torch.stack(each) for each in zip(*layers, strict=True))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
