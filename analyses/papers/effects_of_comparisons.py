"""The effects behind the claims of Bar Natan et al.: paired over queries where they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...probes import jaccard, rec2ftp
from .barnatan import CLIPPED, FT, LCFT
from .comparison_draws import ComparedDraw, compared_draws
from .effects import Criterion, Effect, over_queries, over_units, ratio_over_queries, share_that

Comparisons = Mapping[str, Mapping[str, Any]]
"""By the task and the recipe."""


def _draws(studies: Comparisons, recipe: str = FT) -> list[ComparedDraw]:
    return [draw for study in studies.values() for draw in compared_draws(study[recipe])]


def _sim_aou(draw: ComparedDraw, name: str = "SimAOU") -> Tensor:
    return draw.similarity(name).nanmean(1)


def _sim_am(draw: ComparedDraw, when: str = "after") -> Tensor:
    return draw.similarity(f"SimAM {when} finetuning").nanmean(1)


def _paired(
    studies: Comparisons, measure: Callable[[ComparedDraw], Tensor], recipe: str, other: str = FT
) -> list[Tensor]:
    """Return, for each draw, a measure of one recipe less that of another on the same queries."""
    pairs = zip(_draws(studies, recipe), _draws(studies, other), strict=True)
    return [measure(one) - measure(two) for one, two in pairs]


def changes_by_icl_less_ft(studies: Comparisons) -> Effect:
    """Share of predictions that ICL changes, less the share that finetuning changes, in points."""
    values = []
    for draw in _draws(studies):
        zsl, icl, ft = draw.predictions
        values.append(100 * ((icl != zsl).double() - (ft != zsl).double()))
    return over_queries(torch.cat(values))


def recall_to_finetuning(studies: Comparisons) -> Effect:
    """Rec2FTP over all tasks together, in percent."""
    ratios = [rec2ftp(*draw.correct) for draw in _draws(studies)]
    return ratio_over_queries(
        torch.cat([ratio.numerators for ratio in ratios]), torch.cat([ratio.denominators for ratio in ratios])
    )


def tasks_with_unique_majority(studies: Comparisons) -> Effect:
    """Share of tasks in which changes by one of the two alone are the majority of all changes."""
    effects = []
    for draw in _draws(studies):
        overlap = jaccard(*draw.predictions, draw.gold).all
        shared = ratio_over_queries(overlap.numerators, overlap.denominators)
        effects.append(Effect(100 - shared.value, 100 - shared.high, 100 - shared.low, shared.basis))
    return share_that(effects, Criterion(above=50), "tasks")


def tasks_with_low_jaccard(studies: Comparisons) -> Effect:
    """Share of tasks whose Jaccard index is below one half."""
    effects = []
    for draw in _draws(studies):
        overlap = jaccard(*draw.predictions, draw.gold).all
        effects.append(ratio_over_queries(overlap.numerators, overlap.denominators))
    return share_that(effects, Criterion(below=50), "tasks")


def jaccard_correct_less_incorrect(studies: Comparisons) -> Effect:
    """Jaccard index over correct changes less that over incorrect ones, in points, over tasks."""
    values = []
    for draw in _draws(studies):
        overlap = jaccard(*draw.predictions, draw.gold)
        values.append(overlap.correct.percent - overlap.incorrect.percent)
    return over_units(values, "tasks")


def relative_accuracy_difference(studies: Comparisons) -> Effect:
    """|ICL − FT| accuracy relative to zero-shot accuracy, in percent, over tasks."""
    values = []
    for draw in _draws(studies):
        zsl, icl, ft = (float(correct.double().mean()) for correct in draw.correct)
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
        torch.cat([_sim_aou(draw) - _sim_aou(draw, "SimAOU, null gaussian") for draw in _draws(studies)])
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


def _lower_drift(draw: ComparedDraw) -> float:
    layers = sorted(set(draw.drift["layer"]))
    lower = draw.drift["layer"].isin(layers[: len(layers) // 2])
    found = [float(value) for value in draw.drift.loc[lower, "relative_frobenius"]]
    return sum(found) / len(found) if found else float("nan")
