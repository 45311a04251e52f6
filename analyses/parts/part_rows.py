"""What is measured of the parts of one draw, as rows with intervals over queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...probes import (
    Interval,
    SplitOutputs,
    UpdatePart,
    bootstrap_mean,
    bootstrap_ratio,
    mean_over_layers,
    part_shares,
    part_similarity,
)
from ...seeds import derive_seed
from ..comparison.reduction import partners_of
from .config import PartsConfig
from .split_draw import SplitDraw

_PAIRS: tuple[tuple[UpdatePart, UpdatePart], ...] = (
    ("direct", "direct"),
    ("direct", "inherited"),
    ("inherited", "direct"),
    ("inherited", "inherited"),
)
_BOTH: tuple[UpdatePart, ...] = ("direct", "inherited")


def pair_name(icl: str, finetuned: str) -> str:
    """Return what two parts that are compared are called."""
    return icl if icl == finetuned else f"{icl} with {finetuned}"


@dataclass(frozen=True, eq=False)
class _Measured:
    """One measure of every query and layer, with what makes intervals of it."""

    measure: str
    setting: str
    part: str
    numerators: Tensor
    denominators: Tensor | None = None
    nulls: tuple[Tensor, Tensor] | None = None
    root: bool = False

    def interval(self, config: PartsConfig, seed: int, over_layers: bool) -> Interval:
        """Return it by layer ``[L]``, or its mean over layers."""
        finish = _finish(self.root, over_layers)
        drawn = {
            "seed": derive_seed("bootstrap", seed),
            "resamples": config.resamples,
            "level": config.level,
            "statistic": finish,
        }
        if self.denominators is None:
            return bootstrap_mean(self.numerators, **drawn)
        there = ~self.denominators.isnan()
        return bootstrap_ratio(
            self.numerators.where(there, 0.0), self.denominators.where(there, 0.0), **drawn
        )


def _finish(root: bool, over_layers: bool) -> Callable[[Tensor], Tensor] | None:
    if not root:
        return mean_over_layers if over_layers else None
    return lambda ratios: mean_over_layers(ratios.sqrt()) if over_layers else ratios.sqrt()


def part_rows(config: PartsConfig, draw: SplitDraw) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one draw: of the table ``measures``, and of ``layers``.

    Args:
        config: What is asked.
        draw: The draw.
    """
    measures, layers = [], []
    seed = draw.cell.seed
    for each in _measured(config, draw):
        key = {"measure": each.measure, "setting": each.setting, "part": each.part}
        whole = each.interval(config, seed, over_layers=True)
        nulls = [float(null.nanmean(0).nanmean()) for null in each.nulls or ()] or [None, None]
        measures.append({"seed": seed, **key, **_ends(whole, None), **_nulls(nulls)})
        by_layer = each.interval(config, seed, over_layers=False)
        shown = each.numerators if each.denominators is None else each.denominators
        defined = (~shown.isnan()).sum(0)
        for place, layer in enumerate(draw.layers):
            nulls = [float(null.nanmean(0)[place]) for null in each.nulls or ()] or [None, None]
            layers.append(
                {
                    "seed": seed,
                    "layer": layer,
                    **key,
                    **_ends(by_layer, place),
                    **_nulls(nulls),
                    "defined": int(defined[place]),
                    "of": len(shown),
                }
            )
    return measures, layers


def _measured(config: PartsConfig, draw: SplitDraw) -> Iterator[_Measured]:
    for setting, outputs in (("icl", draw.icl), ("ft", draw.finetuned)):
        yield from _shares(setting, outputs)
    partners = partners_of(len(draw.icl.before), config.null_draws, draw.cell.seed)
    for part in ("total", *_BOTH):
        found = part_similarity(draw.icl, draw.finetuned, part, part, partners=partners)
        nulls = found.permuted_pairs, found.shared_baseline
        yield _Measured("similarity", "both", part, found.values, nulls=nulls)
    for icl, finetuned in _PAIRS:
        found = part_similarity(draw.icl, draw.finetuned, icl, finetuned)
        yield _Measured("contribution", "both", pair_name(icl, finetuned), found.contribution)


def _shares(setting: str, outputs: SplitOutputs) -> Iterator[_Measured]:
    shares = part_shares(outputs)
    for part in _BOTH:
        yield _Measured("share", setting, part, shares.products[part], shares.squares)
    for part in _BOTH:
        yield _Measured("length", setting, part, shares.lengths[part], shares.squares, root=True)


def _ends(interval: Interval, place: int | None) -> dict[str, float]:
    ends = {"value": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: float(torch.atleast_1d(end)[place or 0]) for name, end in ends.items()}


def _nulls(nulls: list[Any]) -> dict[str, Any]:
    permuted, shared = nulls
    return {"permuted_pairs": permuted, "shared_baseline": shared}
