"""The effects behind the claims of Bar Natan et al.: paired over queries where they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...probes import jaccard, rec2ftp
from .barnatan import CLIPPED, FT, LCFT
from .effects import Criterion, Effect, over_queries, over_units, ratio_over_queries, share_that

Comparisons = Mapping[str, Mapping[str, Any]]
"""By the task and the recipe."""


def _draws(studies: Comparisons, recipe: str = FT) -> list[Any]:
    return [draw for study in studies.values() for draw in study[recipe].draws]


def _predictions(draw: Any) -> tuple[Tensor, Tensor, Tensor]:
    zsl, icl, ft = (draw.answers[setting].prediction for setting in ("zsl", "icl", "ft"))
    return zsl, icl, ft


def _correct(draw: Any) -> tuple[Tensor, Tensor, Tensor]:
    zsl, icl, ft = (draw.answers[setting].correct for setting in ("zsl", "icl", "ft"))
    return zsl, icl, ft


def _sim_aou(draw: Any) -> Tensor:
    return draw.sim_aou.values.nanmean(1)


def _sim_am(draw: Any, when: str = "after") -> Tensor:
    return getattr(draw, f"sim_am_{when}").per_example.nanmean(1)


def _paired(
    studies: Comparisons, measure: Callable[[Any], Tensor], recipe: str, other: str = FT
) -> list[Tensor]:
    """Return, for each draw, a measure of one recipe less that of another on the same queries."""
    pairs = zip(_draws(studies, recipe), _draws(studies, other), strict=True)
    return [measure(one) - measure(two) for one, two in pairs]


def changes_by_icl_less_ft(studies: Comparisons) -> Effect:
    """Share of predictions that ICL changes, less the share that finetuning changes, in points."""
    values = []
    for draw in _draws(studies):
        zsl, icl, ft = _predictions(draw)
        values.append(100 * ((icl != zsl).double() - (ft != zsl).double()))
    return over_queries(torch.cat(values))


def recall_to_finetuning(studies: Comparisons) -> Effect:
    """Rec2FTP over all tasks together, in percent."""
    ratios = [rec2ftp(*_correct(draw)) for draw in _draws(studies)]
    return ratio_over_queries(
        torch.cat([ratio.numerators for ratio in ratios]), torch.cat([ratio.denominators for ratio in ratios])
    )


def tasks_with_unique_majority(studies: Comparisons) -> Effect:
    """Share of tasks in which changes by one of the two alone are the majority of all changes."""
    effects = []
    for draw in _draws(studies):
        overlap = jaccard(*_predictions(draw), draw.gold).all
        shared = ratio_over_queries(overlap.numerators, overlap.denominators)
        effects.append(Effect(100 - shared.value, 100 - shared.high, 100 - shared.low, shared.basis))
    return share_that(effects, Criterion(above=50), "tasks")


def tasks_with_low_jaccard(studies: Comparisons) -> Effect:
    """Share of tasks whose Jaccard index is below one half."""
    effects = []
    for draw in _draws(studies):
        overlap = jaccard(*_predictions(draw), draw.gold).all
        effects.append(ratio_over_queries(overlap.numerators, overlap.denominators))
    return share_that(effects, Criterion(below=50), "tasks")


def jaccard_correct_less_incorrect(studies: Comparisons) -> Effect:
    """Jaccard index over correct changes less that over incorrect ones, in points, over tasks."""
    values = []
    for draw in _draws(studies):
        overlap = jaccard(*_predictions(draw), draw.gold)
        values.append(overlap.correct.percent - overlap.incorrect.percent)
    return over_units(values, "tasks")


def relative_accuracy_difference(studies: Comparisons) -> Effect:
    """|ICL − FT| accuracy relative to zero-shot accuracy, in percent, over tasks."""
    values = []
    for draw in _draws(studies):
        zsl, icl, ft = (float(correct.double().mean()) for correct in _correct(draw))
        values.append(100 * abs(icl - ft) / zsl if zsl else float("nan"))
    return over_units(values, "tasks")


def tasks_where_layer_causal_is_closer(studies: Comparisons) -> Effect:
    """Share of tasks in which layer-causal finetuning has the higher SimAOU, paired over queries."""
    effects = [over_queries(values) for values in _paired(studies, _sim_aou, LCFT)]
    return share_that(effects, Criterion(above=0), "tasks")


def layer_causal_sim_am(studies: Comparisons) -> Effect:
    """SimAM after layer-causal less after standard finetuning, paired over all queries."""
    return over_queries(torch.cat(_paired(studies, _sim_am, LCFT)))


def sim_aou_above_random(studies: Comparisons) -> Effect:
    """SimAOU of standard finetuning less that of a random update, paired over all queries."""
    return over_queries(
        torch.cat([_sim_aou(draw) - draw.nulls["gaussian"].values.nanmean(1) for draw in _draws(studies)])
    )


def sim_am_after_less_before(studies: Comparisons) -> Effect:
    """SimAM after standard finetuning less before, paired over all queries."""
    return over_queries(torch.cat([_sim_am(draw) - _sim_am(draw, "before") for draw in _draws(studies)]))


def clipped_sim_am_less_unclipped(studies: Comparisons) -> Effect:
    """SimAM after clipped less after unclipped layer-causal finetuning, paired over queries."""
    return over_queries(torch.cat(_paired(studies, _sim_am, CLIPPED, LCFT)))


def clipped_sim_aou_less_standard(studies: Comparisons) -> Effect:
    """SimAOU of clipped layer-causal finetuning less that of standard finetuning, paired over queries."""
    return over_queries(torch.cat(_paired(studies, _sim_aou, CLIPPED)))


def lower_layer_drift(studies: Comparisons) -> Effect:
    """Relative change of W_K and W_V in the lower half by layer-causal less by standard finetuning, over tasks."""
    pairs = zip(_draws(studies, LCFT), _draws(studies), strict=True)
    return over_units([_lower_drift(one) - _lower_drift(two) for one, two in pairs], "tasks")


def _lower_drift(draw: Any) -> float:
    layers = sorted({row.layer for row in draw.finetuned.drift})
    lower = set(layers[: len(layers) // 2])
    found = [row.drift.relative_frobenius for row in draw.finetuned.drift if row.layer in lower]
    return sum(found) / len(found) if found else float("nan")
