"""How much the next-token distribution depends on the order of the demonstrations: Sen of Shen et al. (App. A).

The moments over orders are kept up to date one batch of one order at a time (Welford), so that memory does
not grow with the number of orders.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .distributions import highest, require_logprobs
from .options import SensitivityAggregate
from .vectors import as_float64, example_slices

_SUM_TOLERANCE = 1e-2


class OrderMoments:
    """Running mean and variance, over orders, of every token's probability for N queries.

    The moments are of probabilities, not of log-probabilities. They are 2 x N x V float64 numbers, whatever
    the number of orders: 1.6 GB for 2,000 queries and 50,000 tokens, which need not lie in memory.

    Attributes:
        mean: `[N, V]` float64, mean probability over the orders so far.
        squared_deviations: `[N, V]` float64, sum over the orders of the squared deviations from the mean;
            exactly zero while all orders gave the same distribution.
        counts: `[N]` int64, how many orders each query has had.
    """

    def __init__(self, n: int, vocabulary: int, zeros: Callable[[int, int], Tensor] | None = None) -> None:
        """Begin with no order.

        Args:
            n: How many queries, N.
            vocabulary: How many tokens, V.
            zeros: What makes float64 zeros of a shape, such as in a file; None is in memory.

        Raises:
            ValueError: One of them is not positive.
        """
        if n < 1 or vocabulary < 1:
            raise ValueError(f"expected at least 1 query and 1 token, got {n} and {vocabulary}")
        zeros = zeros or partial(torch.zeros, dtype=torch.float64)
        self.mean = zeros(n, vocabulary)
        self.squared_deviations = zeros(n, vocabulary)
        self.counts = torch.zeros(n, dtype=torch.int64)

    @property
    def orders(self) -> int:
        """How many orders every query has had.

        Raises:
            ValueError: Some have had more than others.
        """
        fewest, most = int(self.counts.min()), int(self.counts.max())
        if fewest != most:
            raise ValueError(
                f"some queries have had {fewest} orders and others {most}: give every order of all "
                f"{len(self.counts)} queries"
            )
        return fewest

    def update(self, indices: ArrayLike, logprobs: ArrayLike) -> None:
        """Add what some of the queries answered behind one more order.

        Args:
            indices: `[B]` int64, which queries, each once.
            logprobs: `[B, V]` fp32 log-probabilities over the whole vocabulary, on any device.

        Raises:
            ValueError: A shape is another, an index is out of range or given twice, or a row is no
                distribution. Nothing is added then.
        """
        indices, logprobs = as_tensors(indices, logprobs)
        n, vocabulary = self.mean.shape
        indices = indices.detach().cpu()
        if indices.ndim != 1 or indices.dtype != torch.int64 or logprobs.shape != (len(indices), vocabulary):
            raise ValueError(
                f"expected int64 indices [B] and log-probabilities [B, {vocabulary}], got "
                f"{tuple(indices.shape)} of {indices.dtype} and {tuple(logprobs.shape)}"
            )
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < n:
            raise ValueError(f"indices must lie in 0..{n - 1}, got {indices.tolist()}")
        if len(indices.unique()) != len(indices):
            raise ValueError(f"each query can be given once in an order, got {indices.tolist()}")
        _require_distributions(logprobs)
        self.counts[indices] += 1
        for rows in example_slices(len(indices), vocabulary):
            queries = indices[rows]
            probabilities = as_float64(logprobs[rows]).exp()
            mean = self.mean[queries]
            deviation = probabilities - mean
            mean += deviation / self.counts[queries, None]
            self.mean[queries] = mean
            self.squared_deviations[queries] += deviation * (probabilities - mean)


def order_sensitivity(
    moments: OrderMoments,
    aggregate: SensitivityAggregate = "sum_std",
    ddof: int = 0,
    top_k: int | None = None,
) -> Tensor:
    """Return each query's sensitivity to the order of the demonstrations, `Sen` (Shen et al., App. A).

    The standard deviation of every token's probability over the orders is aggregated over tokens. The text
    speaks of standard deviations first and of aggregated variances next, so both are options (definitions R13).

    Args:
        moments: Moments over at least 2 orders, the same number for every query.
        aggregate: ``sum_std`` adds up the standard deviations, ``sum_var`` the variances; ``mean_std`` is the mean
            standard deviation; ``l2`` is the Euclidean norm of the standard deviations.
        ddof: 0 for the population's standard deviation, 1 for the sample's.
        top_k: Only the K tokens that are most probable on average over the orders, ties by lower id; None
            takes the whole vocabulary.

    Returns:
        `[N]` float64, exactly 0 where all orders gave the same distribution.

    Raises:
        ValueError: There are fewer than 2 orders or no more than `ddof`, queries have had different numbers of
            orders, or an option is unknown.
    """
    if aggregate not in get_args(SensitivityAggregate):
        raise ValueError(
            f"unknown aggregate {aggregate!r}, choose one of {', '.join(get_args(SensitivityAggregate))}"
        )
    orders = moments.orders
    if orders < 2:
        raise ValueError(f"sensitivity to the order needs at least 2 orders, got {orders}")
    if not 0 <= ddof < orders:
        raise ValueError(f"ddof must lie in 0..{orders - 1} for {orders} orders, got {ddof}")
    n, vocabulary = moments.mean.shape
    parts = []
    for rows in example_slices(n, vocabulary):
        squares = moments.squared_deviations[rows]
        if top_k is not None:
            squares = squares.gather(1, highest(moments.mean[rows], top_k))
        parts.append(_aggregate(squares / (orders - ddof), aggregate))
    return torch.cat(parts)


def _aggregate(variance: Tensor, aggregate: SensitivityAggregate) -> Tensor:
    if aggregate == "sum_var":
        return variance.sum(dim=1)
    if aggregate == "l2":
        return variance.sum(dim=1).sqrt()
    std = variance.sqrt()
    return std.sum(dim=1) if aggregate == "sum_std" else std.mean(dim=1)


def _require_distributions(logprobs: Tensor) -> None:
    """Raise ValueError unless every row holds the log-probabilities of a whole vocabulary."""
    require_logprobs(logprobs)
    sums = logprobs.detach().logsumexp(dim=1).exp()
    if bool(((sums - 1).abs() > _SUM_TOLERANCE).any()):
        raise ValueError(
            "the probabilities of each row must add up to 1, got sums between "
            f"{float(sums.min()):g} and {float(sums.max()):g}: give log_softmax over the whole vocabulary"
        )
