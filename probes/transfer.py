"""What a change does when it is given to another run: how much of the way to in-context learning an answer then goes.

Answers are compared by their label log-probabilities v, centred over the labels, which are all that decides between
them (R22). Several draws of demonstrations are averaged; intervals resample queries, all draws together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .statistics import Interval, bootstrap_ratio
from .vectors import as_float64

# A spread over queries that is this small beside the whole is what cancelling leaves.
_CANCELLED = 1e-9


@dataclass(frozen=True, eq=False)
class TransferOutcomes:
    """What K changes do, each an interval over queries of shape ``[K]``.

    Attributes:
        closed: 1 − Σ‖v_patched − v_ICL‖² / Σ‖v_ZSL − v_ICL‖²: 1 is ICL's answers, 0 leaves as much as zero-shot.
        closed_particular: The same after v is centred over the queries: without the shift that all of them share.
        agreement: Share of queries in which the most likely label is ICL's.
        label_kl: KL divergence from ICL over the labels, renormalised, in nats.
        vocabulary_kl: The same over the whole vocabulary.
        format: 1 − Σ of `vocabulary_kl` over that of zero-shot, which mostly is whether a label is said at all.
        defined: Queries that have a value, over all draws, ``[K]``.
    """

    closed: Interval
    closed_particular: Interval
    agreement: Interval
    label_kl: Interval
    vocabulary_kl: Interval
    format: Interval
    defined: Tensor

    def intervals(self) -> Mapping[str, Interval]:
        """Return every measure by its name."""
        return {name: getattr(self, name) for name in MEASURES}


MEASURES = ("closed", "closed_particular", "agreement", "label_kl", "vocabulary_kl", "format")


def centred_labels(logprobs: ArrayLike) -> Tensor:
    """Return label log-probabilities ``[..., C]`` less their mean over the labels, in float64."""
    values = as_float64(as_tensor(logprobs))
    return values - values.mean(dim=-1, keepdim=True)


def label_divergence(reference: ArrayLike, logprobs: ArrayLike) -> Tensor:
    """Return KL(reference ‖ other) over the labels alone, each renormalised, in nats.

    Args:
        reference: Label log-probabilities ``[..., C]``.
        logprobs: The others', broadcastable to it.
    """
    reference, logprobs = as_tensors(reference, logprobs)
    own, other = (as_float64(each).log_softmax(dim=-1) for each in (reference, logprobs))
    return (own.exp() * (own - other)).sum(dim=-1).clamp(min=0)


def vocabulary_divergence(reference: ArrayLike, logprobs: ArrayLike) -> Tensor:
    """Return KL(reference ‖ other) over the whole vocabulary, in nats, ``[R]``.

    Args:
        reference: Log-probabilities ``[V]``.
        logprobs: Those of R others, ``[R, V]``, on the same device.
    """
    reference, logprobs = as_tensors(reference, logprobs)
    weight = reference.exp()
    return ((weight * reference).sum() - logprobs @ weight).clamp(min=0)


def closed(
    patched: ArrayLike,
    zero_shot: ArrayLike,
    icl: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
    floor: float = 0.0,
) -> tuple[Interval, Interval]:
    """Return `closed` and `closed_particular` of one change, each a 0-dimensional interval.

    Args:
        patched: Label log-probabilities under the change, ``[N, C]``; NaN where a query has none.
        zero_shot: Those of zero-shot.
        icl: Those of ICL.
        seed: Seed of the resamples.
        resamples: How many.
        level: Coverage of the intervals.
        floor: As in `transfer_outcomes`.
    """
    patched, zero_shot, icl = as_tensors(patched, zero_shot, icl)
    terms, counts = _distance_terms(patched[:, None, None], zero_shot[:, None], icl[:, None], floor)
    both = [
        bootstrap_ratio(terms, counts, seed=seed, resamples=resamples, level=level, statistic=statistic)
        for statistic in (_closed, _closed_particular)
    ]
    return _only(both[0]), _only(both[1])


def transfer_outcomes(
    patched: ArrayLike,
    zero_shot: ArrayLike,
    icl: ArrayLike,
    vocabulary_kl: ArrayLike,
    zero_shot_kl: ArrayLike,
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
    floor: float = 0.0,
) -> TransferOutcomes:
    """Return what K changes do to the answers to N queries on S draws of demonstrations, mean over draws.

    Intervals of one seed are paired. A measure that is NaN in a draw is left out of the mean over draws.

    Args:
        patched: Label log-probabilities under each change, ``[N, S, K, C]``; NaN where a query has none.
        zero_shot: Those of zero-shot, ``[N, S, C]``.
        icl: Those of ICL, ``[N, S, C]``.
        vocabulary_kl: KL divergence from ICL over the vocabulary, ``[N, S, K]``; NaN where it is not known.
        zero_shot_kl: That of zero-shot, ``[N, S]``.
        seed: Seed of the resamples.
        resamples: How many.
        level: Coverage of the intervals.
        floor: A change of v from zero-shot to ICL no longer than this, relative to the label log-probabilities, is
            rounding; where all are, there is no way to go and `closed` is NaN.

    Raises:
        ValueError: The shapes do not fit.
    """
    patched, zero_shot, icl, vocabulary_kl, zero_shot_kl = map(
        as_float64, as_tensors(patched, zero_shot, icl, vocabulary_kl, zero_shot_kl)
    )
    if zero_shot.shape != icl.shape or patched.shape[:2] + patched.shape[3:] != icl.shape:
        raise ValueError(
            f"expected patched [N, S, K, C] and zero_shot and icl [N, S, C], got {tuple(patched.shape)}, "
            f"{tuple(zero_shot.shape)} and {tuple(icl.shape)}"
        )
    terms, counts = _distance_terms(patched, zero_shot, icl, floor)
    there = counts[..., 0] > 0
    agrees = (patched.nan_to_num().argmax(-1) == icl.argmax(-1)[..., None]).double()
    labels = label_divergence(icl[:, :, None], patched.nan_to_num())
    known = there & ~vocabulary_kl.isnan()
    before = zero_shot_kl[..., None].expand_as(vocabulary_kl)

    def interval(numerators: Tensor, denominators: Tensor, statistic: object) -> Interval:
        return bootstrap_ratio(
            numerators,
            denominators,
            seed=seed,
            resamples=resamples,
            level=level,
            statistic=statistic,  # pyright: ignore[reportArgumentType]
        )

    def mean(values: Tensor, defined: Tensor) -> Interval:
        return interval(torch.where(defined, values, 0.0), defined.double(), _over_draws)

    return TransferOutcomes(
        closed=interval(terms, counts, _closed),
        closed_particular=interval(terms, counts, _closed_particular),
        agreement=mean(agrees, there),
        label_kl=mean(labels, there),
        vocabulary_kl=mean(vocabulary_kl, known),
        format=interval(
            torch.where(known, vocabulary_kl, 0.0), torch.where(known, before, 0.0), _share_closed
        ),
        defined=there.sum(dim=(0, 1)),
    )


def _distance_terms(patched: Tensor, zero_shot: Tensor, icl: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Return what both forms of `closed` are made of, ``[N, S, K, 2 + 2C]``, and which are there, ``[N, S, K, 1]``.

    A spread over queries is the mean square less the square of the mean, so that a resample needs no second pass.
    """
    wanted = centred_labels(icl)
    to_go = centred_labels(zero_shot) - wanted
    rounding = floor * torch.linalg.vector_norm(as_float64(zero_shot), dim=-1, keepdim=True)
    within = torch.linalg.vector_norm(to_go, dim=-1, keepdim=True) <= rounding
    # A short way beside longer ones counts for little by itself.
    to_go = to_go.masked_fill(within.all(dim=0, keepdim=True), 0.0)
    left = centred_labels(patched) - wanted[:, :, None]
    there = ~left.isnan().any(dim=-1, keepdim=True)
    left = torch.where(there, left, 0.0)
    to_go = torch.where(there, to_go[:, :, None], 0.0)
    terms = [part for each in (left, to_go) for part in (each.square().sum(-1, keepdim=True), each)]
    return torch.cat(terms, dim=-1), there.double()


def _split(means: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels = means.shape[-1] // 2 - 1
    left, left_mean, to_go, to_go_mean = means.split([1, labels, 1, labels], dim=-1)
    return left[..., 0], left_mean, to_go[..., 0], to_go_mean


def _closed(means: Tensor) -> Tensor:
    left, _, to_go, _ = _split(means)
    return _over_draws(torch.where(to_go > 0, 1 - left / to_go, torch.nan))


def _closed_particular(means: Tensor) -> Tensor:
    left, left_mean, to_go, to_go_mean = _split(means)
    spread = to_go - to_go_mean.square().sum(-1)
    share = 1 - (left - left_mean.square().sum(-1)) / spread
    return _over_draws(torch.where(spread > _CANCELLED * to_go, share, torch.nan))


def _share_closed(ratios: Tensor) -> Tensor:
    return _over_draws(1 - torch.where(ratios.isfinite(), ratios, torch.nan))


def _over_draws(values: Tensor) -> Tensor:
    """Return the mean over draws of ``[R, S, K]``."""
    return rearrange(values, "r s k -> s r k").nanmean(dim=0)


def _only(interval: Interval) -> Interval:
    parts = {name: getattr(interval, name)[0] for name in ("estimate", "low", "high", "undefined")}
    return Interval(**parts, level=interval.level, resamples=interval.resamples)
