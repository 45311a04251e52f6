"""Heads ranked by how much they look at the demonstrations' labels, and at the right ones, over all draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...probes import AttentionShares, mean_and_std, preference
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
    # One layer at a time: shares of all layers of many queries lie on disk.
    found = [_of_layer(config, own, permuted, place) for place in range(len(layers))]
    columns = {name: torch.cat([each[name] for each in found]) for name in found[0]}
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


def _of_layer(
    config: AttentionConfig, own: Sequence[DrawShares], permuted: Sequence[DrawShares], place: int
) -> dict[str, Tensor]:
    """Return every column of the layer at a place, ``[1, H]``."""

    def masses(draws: Sequence[DrawShares]) -> list[AttentionShares]:
        chosen = slice(place, place + 1)
        return [AttentionShares(draw.mass.shares[:, chosen], draw.mass.uniform[:, chosen]) for draw in draws]

    columns: dict[str, Tensor] = {}
    found, cells = masses(own), [draw.cell for draw in own]
    labels = over_draws([mass.shares[..., _LABELS] for mass in found], cells)
    columns |= with_ends(config, "labels", labels)
    even = over_draws([mass.uniform.expand_as(mass.shares)[..., _LABELS] for mass in found], cells)
    columns["labels_even"] = even.mean(0)
    each = [preference(mass, _RIGHT, _OTHER) for mass in found]
    columns |= with_ends(config, "right", over_draws(each, cells))
    columns["right_std"] = mean_and_std(torch.stack([values.nanmean(0) for values in each])).std
    answered = [preference(mass, _PREDICTED, _NOT_PREDICTED) for mass in found]
    columns["predicted"] = over_draws(answered, cells).nanmean(0)
    if permuted:
        again = over_draws(
            [preference(mass, _RIGHT, _OTHER) for mass in masses(permuted)], [draw.cell for draw in permuted]
        )
        columns |= with_ends(config, "right_permuted", again)
    return columns


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
