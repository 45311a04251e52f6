"""Do two next-token distributions put the same tokens on top, and with the same weights?

Token overlap and overlap cosine similarity (Shen et al. 2024, section 5.1, Eq. 6). Both look at the K most
probable tokens of a distribution alone, so these are all that is kept of it: N x K numbers for N queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, hold_tensors
from .options import OverlapNorm
from .vectors import as_float64


@dataclass(frozen=True, eq=False)
class TopTokens:
    """The most probable tokens of N next-token distributions, the most probable first.

    Attributes:
        ids: `[N, K]` int64, each once in its row; of equally probable tokens the lower id comes first.
        logprobs: `[N, K]` float64, their log-probabilities.
    """

    ids: Tensor
    logprobs: Tensor

    def __post_init__(self) -> None:
        """Check shapes, dtypes and that no row holds a token twice, NaN, or a later token of more weight."""
        hold_tensors(self, "ids", "logprobs")
        if self.ids.ndim != 2 or self.ids.shape != self.logprobs.shape or self.k < 1:
            raise ValueError(
                "expected ids and logprobs of one shape [N, K] with K at least 1, got "
                f"{tuple(self.ids.shape)} and {tuple(self.logprobs.shape)}"
            )
        if (self.ids.dtype, self.logprobs.dtype) != (torch.int64, torch.float64):
            raise ValueError(
                f"expected ids of int64 and logprobs of float64, got {self.ids.dtype}, {self.logprobs.dtype}"
            )
        if bool((self.ids.sort(dim=1).values.diff(dim=1) == 0).any()):
            raise ValueError("a row of ids holds a token twice")
        require_logprobs(self.logprobs)
        if bool((self.logprobs[:, 1:] > self.logprobs[:, :-1]).any()):
            raise ValueError("each row of logprobs must begin with the most probable token and never rise")

    @property
    def k(self) -> int:
        """How many tokens of each distribution are kept, K."""
        return self.ids.shape[1]

    def __len__(self) -> int:
        """Return the number of distributions, N."""
        return self.ids.shape[0]

    def select(self, indices: ArrayLike) -> TopTokens:
        """Return the distributions at `indices` `[M]`, in that order."""
        indices = as_tensor(indices)
        return TopTokens(self.ids[indices], self.logprobs[indices])

    @classmethod
    def concatenate(cls, parts: Sequence[TopTokens]) -> TopTokens:
        """Join several batches, one after another.

        Raises:
            ValueError: There is none, or they keep different numbers of tokens.
        """
        widths = sorted({part.k for part in parts})
        if len(widths) != 1:
            raise ValueError(f"expected batches that keep one number of tokens, got {widths or 'no batch'}")
        return cls(torch.cat([part.ids for part in parts]), torch.cat([part.logprobs for part in parts]))


def top_tokens(logprobs: ArrayLike, k: int = 10) -> TopTokens:
    """Return the K most probable tokens of each distribution, of equally probable ones those with lower ids.

    Args:
        logprobs: `[N, V]` fp32 log-probabilities over the whole vocabulary, on any device.
        k: How many tokens, K; Shen et al. take 10.

    Raises:
        ValueError: The shape is another, a value is NaN or positive, or K does not lie in `1..V`.
    """
    logprobs = as_tensor(logprobs)
    if logprobs.ndim != 2 or not logprobs.is_floating_point():
        raise ValueError(
            f"expected log-probabilities [N, V], got {tuple(logprobs.shape)} of {logprobs.dtype}"
        )
    require_logprobs(logprobs)
    logprobs = logprobs.detach()
    ids = highest(logprobs, k)
    return TopTokens(ids.cpu(), as_float64(logprobs.gather(1, ids)))


def token_overlap(first: TopTokens, second: TopTokens) -> Tensor:
    """Return which share of the top tokens two distributions have in common (Shen et al., section 5.1).

    |T1 ∩ T2| / K, with T the K most probable tokens.

    Args:
        first: Top tokens of N distributions.
        second: Top tokens of N others, row by row of the same queries.

    Returns:
        `[N]` float64 in 0..1.

    Raises:
        ValueError: They differ in N or K.
    """
    shared, _ = _shared(first, second)
    return shared.sum(dim=1, dtype=torch.float64) / first.k


def overlap_cosine_similarity(
    first: TopTokens, second: TopTokens, norm: OverlapNorm = "sqrt_k_minus_o"
) -> Tensor:
    """Return how well two distributions agree on the top tokens that they share (Shen et al., Eq. 6).

    With O = T1 ∩ T2, the tokens among the K most probable ones of both, the cosine on O,

        sum_O p1 p2 / sqrt(sum_O p1^2 sum_O p2^2),

    is made smaller for the tokens that are not shared. The equation is missing from the text at hand and its
    readings differ in where K - |O| stands, so each is an option (definitions R12). All are scale-free, 1 for
    two equal distributions, and 0 where nothing is shared, |O| = 0.

    Args:
        first: Top tokens of N distributions.
        second: Top tokens of N others, row by row of the same queries.
        norm: What is done about the other tokens.
            ``sqrt_k_minus_o``: max(1, K - |O|) stands inside the square root.
            ``k_minus_o``: it stands outside of it.
            ``none``: nothing, the cosine on O.
            ``topk_cosine``: the cosine over T1 ∪ T2, where a distribution is zero outside of its own T.

    Returns:
        `[N]` float64 in 0..1. It is 0, too, where one distribution gives O no probability at all.

    Raises:
        ValueError: They differ in N or K, or there is no such norm.
    """
    if norm not in get_args(OverlapNorm):
        raise ValueError(f"unknown norm {norm!r}, choose one of {', '.join(get_args(OverlapNorm))}")
    shared, other = _shared(first, second)
    mine = first.logprobs.masked_fill(~shared, -torch.inf)
    # What each norm is taken over: all of the distribution's own top tokens, or the shared ones.
    whole, other_whole = (first.logprobs, second.logprobs) if norm == "topk_cosine" else (mine, other)
    top, other_top = whole.amax(dim=1, keepdim=True), other_whole.amax(dim=1, keepdim=True)
    squares = _relative(whole, top).square().sum(dim=1) * _relative(other_whole, other_top).square().sum(
        dim=1
    )
    product = (_relative(mine, top) * _relative(other, other_top)).sum(dim=1)
    size = squares.sqrt()
    cosine = (product / size).nan_to_num(0.0).clamp(max=1.0)
    missing = (first.k - shared.sum(dim=1)).clamp(min=1).double()
    if norm == "sqrt_k_minus_o":
        return cosine / missing.sqrt()
    return cosine / missing if norm == "k_minus_o" else cosine


def highest(values: Tensor, k: int) -> Tensor:
    """Return where the K largest values of each row stand, the largest first and ties by lower index.

    Args:
        values: `[N, V]` without NaN.
        k: How many, 1..V.

    Returns:
        `[N, K]` int64, on the device of the values.

    Raises:
        ValueError: K does not lie in 1..V.
    """
    size = values.shape[1]
    if not 1 <= k <= size:
        raise ValueError(f"cannot take the {k} most probable of {size} tokens: K must lie in 1..{size}")
    # torch.topk breaks ties as it likes. It decides which indices are taken only where a tie goes over the edge.
    found = values.topk(min(k + 1, size), dim=1)
    ids = found.indices[:, :k]
    if k < size:
        tied = (found.values[:, k - 1] == found.values[:, k]).nonzero()[:, 0]
        if len(tied):
            ids = ids.index_copy(0, tied, _highest_of_tied(values[tied], found.values[tied, k - 1], k))
    ids = ids.sort(dim=1).values
    order = values.gather(1, ids).sort(dim=1, descending=True, stable=True).indices
    return ids.gather(1, order)


def require_logprobs(logprobs: Tensor) -> None:
    """Raise ValueError where a value is no log-probability: NaN, or positive by more than rounding."""
    bad = int((~(logprobs <= 1e-3)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {logprobs.numel()} log-probabilities are NaN or positive: give log_softmax of the logits"
        )


def _highest_of_tied(values: Tensor, edge: Tensor, k: int) -> Tensor:
    """Return `[M, K]` the indices above each row's edge `[M]`, and the lowest of those on it; unordered."""
    above, level = values > edge[:, None], values == edge[:, None]
    room = k - above.sum(dim=1, keepdim=True)
    taken = above | (level & (level.cumsum(dim=1, dtype=torch.int32) <= room))
    return taken.nonzero()[:, 1].reshape(len(values), k)


def _shared(first: TopTokens, second: TopTokens) -> tuple[Tensor, Tensor]:
    """Return which of the first's tokens the second has, and the second's log-probabilities of them, -inf if not."""
    if first.ids.shape != second.ids.shape:
        raise ValueError(
            f"expected as many distributions and as many top tokens of each, got {len(first)} with K = {first.k} "
            f"and {len(second)} with K = {second.k}"
        )
    ids, order = second.ids.sort(dim=1)
    places = torch.searchsorted(ids, first.ids).clamp(max=first.k - 1)
    shared = ids.gather(1, places) == first.ids
    other = second.logprobs.gather(1, order.gather(1, places))
    return shared, other.masked_fill(~shared, -torch.inf)


def _relative(logprobs: Tensor, top: Tensor) -> Tensor:
    """Return probabilities in units of the row's largest, so that their squares do not underflow; NaN of none."""
    return (logprobs - top).exp()
