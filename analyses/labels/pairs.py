"""What two variants have in common query by query: the answers of ICL, and what it changes inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ...probes import Floors, calibrated_prediction, partial_sim_aou, sim_aou
from ..comparison.draw import Draw
from ..comparison.measures import Intervals
from ..comparison.query_values import by_query, interval_of
from .config import VariantName
from .relabelled import flipped

AGREEMENT, CALIBRATED_AGREEMENT = "predictions agree", "calibrated predictions agree"
COSINE, PARTIAL_COSINE = "cosine of ICL updates", "partial cosine of ICL updates"
FOLLOWS = {
    "predictions": "predictions follow flipped labels",
    "calibrated predictions": "calibrated predictions follow flipped labels",
}
"""Of the answers that turn with flipped labels or stay as they are, how many turn; others count as neither."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One variant on one draw of demonstrations.

    Attributes:
        draw: The comparison.
        zero_shot: Zero-shot attention outputs, ``[N, L, d]``.
        icl: Those in context, ``[N, L, d]``.
        floors: Up to which length a change of them is only rounding.
    """

    draw: Draw
    zero_shot: Tensor
    icl: Tensor
    floors: Floors


def pair_values(one: Variant, other: Variant) -> dict[str, tuple[str, Tensor]]:
    """Return what two variants of one draw have in common: unit and ``[N, L]``, one layer for answers, by measure.

    Updates are those of attention outputs of length 1, as SimAOU compares them; both are taken from one zero-shot
    output, which the partial cosine takes out, together with what all queries share.
    """
    labels = len(one.draw.label_names)
    answers = [variant.draw.answers["icl"] for variant in (one, other)]
    raw = [said.prediction for said in answers]
    calibrated = [calibrated_prediction(said.label_logprobs) for said in answers]
    turned = torch.tensor([flipped(label, labels) for label in range(labels)])
    return {
        AGREEMENT: ("%", _percent(raw[0] == raw[1])),
        CALIBRATED_AGREEMENT: ("%", _percent(calibrated[0] == calibrated[1])),
        FOLLOWS["predictions"]: ("%", _turning(raw[0], raw[1], turned)),
        FOLLOWS["calibrated predictions"]: ("%", _turning(calibrated[0], calibrated[1], turned)),
        COSINE: ("cosine", sim_aou(one.zero_shot, one.icl, other.icl, floors=one.floors).values),
        PARTIAL_COSINE: (
            "cosine",
            partial_sim_aou(one.zero_shot, one.icl, other.icl, floors=one.floors).values,
        ),
    }


def pair_rows(
    variants: Mapping[VariantName, Sequence[Variant]], intervals: Intervals
) -> list[dict[str, Any]]:
    """Return one row for each pair of variants and measure, over all draws, with intervals over queries.

    Whether answers follow flipped labels is asked of gold and flipped alone.

    Args:
        variants: Each variant on every draw.
        intervals: How intervals are made.
    """
    rows: list[dict[str, Any]] = []
    for one, other in combinations(variants, 2):
        found = [pair_values(a, b) for a, b in zip(variants[one], variants[other], strict=True)]
        indices = [variant.draw.query_indices for variant in variants[one]]
        for measure, (unit, _) in found[0].items():
            if measure in FOLLOWS.values() and {one, other} != {"gold", "flipped"}:
                continue
            values = by_query(indices, [each[measure][1] for each in found])
            rows.append(
                {"variant": one, "other": other, "measure": measure, "unit": unit}
                | interval_of(values, measure, intervals)
                | {"queries": int((~values.isnan()).flatten(1).any(1).sum()), "draws": len(found)}
            )
    return rows


def _percent(same: Tensor) -> Tensor:
    return 100.0 * same.double()[:, None]


def _turning(before: Tensor, after: Tensor, turned: Tensor) -> Tensor:
    """Return 100 where an answer turns, 0 where it stays, NaN where it does neither."""
    turns = turned[before] == after
    return _percent(turns).where((turns | (before == after))[:, None], torch.nan)
