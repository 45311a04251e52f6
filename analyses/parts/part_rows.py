"""What is measured of the parts of one draw, as rows with intervals over queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ...probes import SplitOutputs, UpdatePart, part_shares, part_similarity
from ...seeds import derive_seed
from ..comparison.reduction import partners_of
from ..layer_measures import LayerMeasure
from .config import PartsConfig
from .split_draw import SplitDraw

_BOTH: tuple[UpdatePart, ...] = ("direct", "inherited")
_NO_NULLS = {"permuted_pairs": None, "shared_baseline": None}


def pair_name(icl: str, finetuned: str) -> str:
    """Return what two parts that are compared are called."""
    return icl if icl == finetuned else f"{icl} with {finetuned}"


def part_rows(config: PartsConfig, draw: SplitDraw) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one draw: of the table ``measures``, and of ``layers``.

    Args:
        config: What is asked.
        draw: The draw.
    """
    seed = draw.cell.seed
    drawn = {
        "seed": derive_seed("bootstrap", seed),
        "resamples": config.resamples,
        "level": config.level,
    }
    measures, layers = [], []
    for each in _measured(config, draw):
        measures.append({"seed": seed, **_NO_NULLS, **each.row_over_layers(**drawn)})
        layers += [{"seed": seed, **_NO_NULLS, **row} for row in each.rows_by_layer(draw.layers, **drawn)]
    return measures, layers


def _measured(config: PartsConfig, draw: SplitDraw) -> Iterator[LayerMeasure]:
    for setting, outputs in (("icl", draw.icl), ("ft", draw.finetuned)):
        yield from _shares(setting, outputs)
    partners = partners_of(len(draw.icl.before), config.null_draws, draw.cell.seed)
    for part in ("total", *_BOTH):
        found = part_similarity(draw.icl, draw.finetuned, part, part, partners=partners)
        nulls = {"permuted_pairs": found.permuted_pairs, "shared_baseline": found.shared_baseline}
        yield LayerMeasure(_key("similarity", "both", part), found.values, nulls=nulls)
    for icl in _BOTH:
        for finetuned in _BOTH:
            found = part_similarity(draw.icl, draw.finetuned, icl, finetuned)
            yield LayerMeasure(_key("contribution", "both", pair_name(icl, finetuned)), found.contribution)


def _shares(setting: str, outputs: SplitOutputs) -> Iterator[LayerMeasure]:
    shares = part_shares(outputs)
    for part in _BOTH:
        yield LayerMeasure(_key("share", setting, part), shares.products[part], shares.squares)
    for part in _BOTH:
        yield LayerMeasure(
            _key("length", setting, part), shares.lengths[part], shares.squares, of_ratio=torch.sqrt
        )


def _key(measure: str, setting: str, part: str) -> dict[str, str]:
    return {"measure": measure, "setting": setting, "part": part}
