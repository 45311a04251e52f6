"""How many answers are right: over the label words (Dai et al. 2023), the vocabulary (Shen et al.), calibrated."""

from __future__ import annotations

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .ratios import Ratio, of_queries


def accuracy(correct: ArrayLike) -> Ratio:
    """Return how many predictions are right.

    Args:
        correct: `[N]` bool, see `correct_over_labels` (Dai et al. 2023) and `correct_over_vocabulary` (Shen et
            al. 2024, section 5.1).

    Raises:
        ValueError: It is not one bool for each query.
    """
    (correct,) = of_queries(torch.bool, correct=correct)
    return Ratio(correct.long(), torch.ones_like(correct, dtype=torch.long))


def calibrated_prediction(label_logprobs: ArrayLike) -> Tensor:
    """Return `[N]` the label option that is likeliest next to what it is in the other queries (batch calibration).

    Each option's log-probability less its mean over the queries, then argmax (definitions R21): a word that is always
    likelier than the others is no longer preferred. An impossible option stays out of its mean and is never taken.

    Args:
        label_logprobs: `[N, C]` log-probability of each label option, nats.

    Raises:
        ValueError: The shape or the dtype is another.
    """
    label_logprobs = as_tensor(label_logprobs)
    if label_logprobs.ndim != 2 or not label_logprobs.is_floating_point():
        raise ValueError(
            f"expected label_logprobs [N, C], got {tuple(label_logprobs.shape)} of {label_logprobs.dtype}"
        )
    values = label_logprobs.double()
    possible = values.isfinite()
    means = values.where(possible, 0).sum(0) / possible.sum(0).clamp(min=1)
    return (values - means).where(possible, -torch.inf).argmax(1)


def calibrated_accuracy(label_logprobs: ArrayLike, gold: ArrayLike) -> Ratio:
    """Return how many `calibrated_prediction`s are right; 0 of 0 for a single query, whose mean is itself.

    A bootstrap of the ratio holds the calibration: it answers for other queries under these means. The noise of the
    means themselves, of the order of their standard error over N queries, is not in the interval.

    Args:
        label_logprobs: `[N, C]` log-probability of each label option, nats.
        gold: `[N]` gold label options.

    Raises:
        ValueError: The shapes do not fit.
    """
    prediction, gold = of_queries(prediction=calibrated_prediction(label_logprobs), gold=gold)
    counted = torch.full_like(gold, int(len(gold) > 1), dtype=torch.long)
    return Ratio((prediction == gold).long() * counted, counted)


def correct_over_labels(prediction: ArrayLike, gold: ArrayLike) -> Tensor:
    """Return `[N]` bool: the predicted label option is the gold one (Dai et al. 2023).

    Args:
        prediction: `[N]` predicted label options.
        gold: `[N]` gold label options.

    Raises:
        ValueError: The shapes or dtypes differ.
    """
    prediction, gold = of_queries(prediction=prediction, gold=gold)
    return prediction == gold


def correct_over_vocabulary(label_is_argmax: ArrayLike, gold: ArrayLike) -> Tensor:
    """Return `[N]` bool: every token of the gold label is the most likely one of the whole vocabulary (Shen et al.).

    Args:
        label_is_argmax: `[N, C]` bool, for each label option, whether all its tokens are the argmax given the
            tokens before them.
        gold: `[N]` integers in `0..C-1`.

    Raises:
        ValueError: The shapes do not fit, or a gold label is no option.
    """
    label_is_argmax, gold = as_tensors(label_is_argmax, gold)
    if label_is_argmax.ndim != 2 or label_is_argmax.dtype != torch.bool:
        raise ValueError(
            f"expected label_is_argmax [N, C] of torch.bool, got {tuple(label_is_argmax.shape)} "
            f"of {label_is_argmax.dtype}"
        )
    of_queries(label_is_argmax=label_is_argmax[:, 0], gold=gold)
    options = label_is_argmax.shape[1]
    if len(gold) and not 0 <= int(gold.min()) <= int(gold.max()) < options:
        raise ValueError(f"gold must lie in 0..{options - 1}, got {gold.unique().tolist()}")
    return label_is_argmax.gather(1, gold.long()[:, None])[:, 0]
