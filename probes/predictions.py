"""Do in-context learning and finetuning change the same predictions?

Rec2FTP (Dai et al. 2023), the Jaccard index of changed predictions and their partition (Bar Natan et al., section
3.3, Table 1 and Figure 1). Every measure is a `Ratio`, which keeps what each query adds to it.

A *change* is a query whose prediction differs from zero-shot. Under `same_label` agreement a shared change is
one where both settings moved to the same new label: the changes are then sets of (query, new label) pairs,
and correct and incorrect changes split every part cleanly. Under `changed`, the formula of the paper's text,
it is enough that both moved. The two are the same for tasks with two labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .options import Agreement
from .ratios import Ratio, of_queries
from .right_answers import accuracy


@dataclass(frozen=True, eq=False)
class Jaccard:
    """Jaccard indices of the predictions changed by in-context learning and by finetuning.

    Attributes:
        agreement: What counts as a shared change.
        all: Over all changes.
        correct: Over changes to the gold label.
        incorrect: Over changes to another label than gold.
    """

    agreement: Agreement
    all: Ratio
    correct: Ratio
    incorrect: Ratio


@dataclass(frozen=True)
class PredictionChanges:
    """The partition of prediction changes of Figure 1 of Bar Natan et al., as counts.

    Attributes:
        agreement: What counts as a shared change.
        shared_correct: Changed by both, to the gold label.
        shared_incorrect: Changed by both, to another label than gold.
        shared_mixed: Changed by both, one to the gold label and the other not (0 under `same_label`).
        icl_correct: Changed by in-context learning only, to the gold label.
        icl_incorrect: Changed by in-context learning only, to another label.
        ft_correct: Changed by finetuning only, to the gold label.
        ft_incorrect: Changed by finetuning only, to another label.
        union: Size of the union of both sets of changes, counted by itself; the seven parts add up to it.
    """

    agreement: Agreement
    shared_correct: int
    shared_incorrect: int
    shared_mixed: int
    icl_correct: int
    icl_incorrect: int
    ft_correct: int
    ft_incorrect: int
    union: int

    def __post_init__(self) -> None:
        """Check that the parts add up."""
        if self.shared + self.icl_only + self.ft_only != self.union:
            raise ValueError(f"the parts of {self} do not add up to the union")

    @property
    def shared(self) -> int:
        """Changes shared by both."""
        return self.shared_correct + self.shared_incorrect + self.shared_mixed

    @property
    def icl_only(self) -> int:
        """Changes by in-context learning only."""
        return self.icl_correct + self.icl_incorrect

    @property
    def ft_only(self) -> int:
        """Changes by finetuning only."""
        return self.ft_correct + self.ft_incorrect


def rec2ftp(zsl_correct: ArrayLike, icl_correct: ArrayLike, ft_correct: ArrayLike) -> Ratio:
    """Return Rec2FTP: of the queries that finetuning put right, how many in-context learning puts right too.

    |{zero-shot wrong, finetuned right, ICL right}| / |{zero-shot wrong, finetuned right}| (Dai et al. 2023).

    Args:
        zsl_correct: `[N]` bool, whether zero-shot is right.
        icl_correct: `[N]` bool, behind demonstrations.
        ft_correct: `[N]` bool, finetuned.

    Returns:
        The ratio; its percentage is NaN where finetuning put nothing right.

    Raises:
        ValueError: They are not one bool for each query.
    """
    before, icl, ft = of_queries(
        torch.bool, zsl_correct=zsl_correct, icl_correct=icl_correct, ft_correct=ft_correct
    )
    fixed = ~before & ft
    return Ratio((fixed & icl).long(), fixed.long())


def changed_predictions(pred_zsl: ArrayLike, prediction: ArrayLike) -> Ratio:
    """Return how many predictions differ from the zero-shot ones.

    Args:
        pred_zsl: `[N]` predicted label options, zero-shot.
        prediction: `[N]` the same in another setting.

    Raises:
        ValueError: The shapes or dtypes differ.
    """
    pred_zsl, prediction = of_queries(pred_zsl=pred_zsl, prediction=prediction)
    return accuracy(prediction != pred_zsl)


def jaccard(
    pred_zsl: ArrayLike,
    pred_icl: ArrayLike,
    pred_ft: ArrayLike,
    gold: ArrayLike,
    agreement: Agreement = "same_label",
) -> Jaccard:
    """Return the Jaccard indices of the changes: |shared| / (|ICL| + |FT| - |shared|).

    Correct and incorrect count, by the same rule, only changes to the gold label or only changes to another
    one. Under `same_label` the index over all changes is the mediant of these two, as it is in Table 1 of Bar
    Natan et al. (their text gives the formula of `changed`, their code the one of `same_label`).

    Args:
        pred_zsl: `[N]` predicted label options, zero-shot.
        pred_icl: `[N]` the same behind demonstrations.
        pred_ft: `[N]` the same, finetuned.
        gold: `[N]` gold label options.
        agreement: ``same_label``, both moved to the same new label; ``changed``, both moved.

    Raises:
        ValueError: The shapes or dtypes differ, or the agreement is unknown.
    """
    pred_zsl, pred_icl, pred_ft, gold = as_tensors(pred_zsl, pred_icl, pred_ft, gold)
    by_icl, by_ft, agree = _changes(pred_zsl, pred_icl, pred_ft, gold, agreement)

    def ratio(icl: Tensor, ft: Tensor) -> Ratio:
        shared = (icl & ft & agree).long()
        return Ratio(shared, icl.long() + ft.long() - shared)

    icl_right, ft_right = pred_icl == gold, pred_ft == gold
    return Jaccard(
        agreement=agreement,
        all=ratio(by_icl, by_ft),
        correct=ratio(by_icl & icl_right, by_ft & ft_right),
        incorrect=ratio(by_icl & ~icl_right, by_ft & ~ft_right),
    )


def prediction_changes(
    pred_zsl: ArrayLike,
    pred_icl: ArrayLike,
    pred_ft: ArrayLike,
    gold: ArrayLike,
    agreement: Agreement = "same_label",
) -> PredictionChanges:
    """Partition the prediction changes into shared, ICL only and finetuning only, correct and incorrect.

    Under `same_label` a query that both settings moved, to different labels, is one change of each and counts
    in both "only" parts, as it does in the union of the Jaccard index.

    Args:
        pred_zsl: `[N]` predicted label options, zero-shot.
        pred_icl: `[N]` the same behind demonstrations.
        pred_ft: `[N]` the same, finetuned.
        gold: `[N]` gold label options.
        agreement: ``same_label``, both moved to the same new label; ``changed``, both moved.

    Raises:
        ValueError: The shapes or dtypes differ, or the agreement is unknown.
    """
    pred_zsl, pred_icl, pred_ft, gold = as_tensors(pred_zsl, pred_icl, pred_ft, gold)
    by_icl, by_ft, agree = _changes(pred_zsl, pred_icl, pred_ft, gold, agreement)
    icl_right, ft_right = pred_icl == gold, pred_ft == gold
    shared = by_icl & by_ft & agree
    only_icl, only_ft = by_icl & ~shared, by_ft & ~shared
    return PredictionChanges(
        agreement=agreement,
        shared_correct=int((shared & icl_right & ft_right).sum()),
        shared_incorrect=int((shared & ~icl_right & ~ft_right).sum()),
        shared_mixed=int((shared & (icl_right != ft_right)).sum()),
        icl_correct=int((only_icl & icl_right).sum()),
        icl_incorrect=int((only_icl & ~icl_right).sum()),
        ft_correct=int((only_ft & ft_right).sum()),
        ft_incorrect=int((only_ft & ~ft_right).sum()),
        union=int(by_icl.sum() + by_ft.sum() - shared.sum()),
    )


def _changes(
    pred_zsl: Tensor, pred_icl: Tensor, pred_ft: Tensor, gold: Tensor, agreement: Agreement
) -> tuple[Tensor, Tensor, Tensor]:
    """Return bool `[N]`: changed by ICL, changed by finetuning, and whether a change by both is shared."""
    of_queries(pred_zsl=pred_zsl, pred_icl=pred_icl, pred_ft=pred_ft, gold=gold)
    if agreement not in get_args(Agreement):
        raise ValueError(f"unknown agreement {agreement!r}, choose one of {', '.join(get_args(Agreement))}")
    agree = pred_icl == pred_ft if agreement == "same_label" else torch.ones_like(pred_icl, dtype=torch.bool)
    return pred_icl != pred_zsl, pred_ft != pred_zsl, agree
