"""What SimAOU would be by chance: random updates, and the outputs of other queries. Each null takes something away.

* `gaussian`: an update of no relation to anything. Above it lies whatever the two updates have in common.
* `permuted_pairs`: the in-context update of another query, its own zero-shot output included. It keeps the direction
  that all queries share, and takes away the pairing *together with* the zero-shot output that the two updates of one
  query share. What lies above it may be that shared output alone.
* `shared_baseline`: the in-context output of another query, less this query's own zero-shot output. Both updates then
  share their zero-shot output, as the measured ones do: for three independent isotropic outputs it is 0.5, as SimAOU
  is. It keeps that and the direction that all queries share. Only what lies above *this* null is particular to the
  query; `partial_outputs` measures that directly.

`uniform01_update` is the baseline of Dai et al.'s code and `uniform_hidden_minus_zsl` the one of Bar Natan et al.'s
text; neither is centred (the expectation of the first is about `sqrt(3) / 2 * cos(update, 1)`), so they measure a
shift of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from .attention_outputs import attention_output_update, output_floors
from .rounding import Floor, Floors
from .statistics import derangement, mean_and_std
from .vectors import concatenate_chunks, cosine, example_slices, require_shape, without_rounding

NullKind = Literal[
    "gaussian", "uniform01_update", "uniform_hidden_minus_zsl", "permuted_pairs", "shared_baseline"
]
_OF_OTHER_QUERIES: tuple[NullKind, ...] = ("permuted_pairs", "shared_baseline")


@dataclass(frozen=True, eq=False)
class NullSimilarity:
    """SimAOU under a null, for R random draws (float64, CPU).

    Attributes:
        kind: Which null.
        draws: `[R, N, L]` similarity in each draw, NaN where it is undefined.
    """

    kind: NullKind
    draws: Tensor

    def __post_init__(self) -> None:
        """Check the shape and the name."""
        if self.draws.ndim != 3 or self.draws.shape[0] == 0:
            raise ValueError(f"expected draws [R, N, L] with R >= 1, got shape {tuple(self.draws.shape)}")
        if self.kind not in get_args(NullKind):
            raise ValueError(f"unknown null {self.kind!r}, choose one of {', '.join(get_args(NullKind))}")

    @property
    def values(self) -> Tensor:
        """`[N, L]` mean over draws."""
        return self.draws.nanmean(0)

    @property
    def undefined(self) -> Tensor:
        """`[L]` number of examples without a value in any draw."""
        return self.values.isnan().sum(0)

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over examples, then over draws."""
        return self.draws.nanmean(1).nanmean(0)

    @property
    def layer_std(self) -> Tensor:
        """`[L]` standard deviation over draws (ddof 1) of the layer profile; NaN for a single draw."""
        return mean_and_std(self.draws.nanmean(1)).std

    @property
    def mean(self) -> float:
        """Mean over layers of the layer profile."""
        return float(self.layer_profile.nanmean())

    @property
    def std(self) -> float:
        """Standard deviation over draws (ddof 1) of the mean over layers; NaN for a single draw."""
        return float(mean_and_std(self.draws.nanmean(1).nanmean(1)).std)

    def select(self, examples: Tensor) -> NullSimilarity:
        """Return the null for these examples: a bool mask `[N]`, or indices in the order wanted."""
        return NullSimilarity(self.kind, self.draws[:, examples])

    @staticmethod
    def concatenate(parts: Sequence[NullSimilarity]) -> NullSimilarity:
        """Join the nulls of successive batches (same kind, same number of draws) along the example axis."""
        if len({part.kind for part in parts}) != 1:
            raise ValueError(f"expected parts of one kind of null, got {[part.kind for part in parts]}")
        return NullSimilarity(parts[0].kind, torch.cat([part.draws for part in parts], dim=1))


def sim_aou_null(
    zero_shot: Tensor,
    icl: Tensor,
    finetuned: Tensor | None,
    kind: NullKind = "gaussian",
    *,
    seed: int | np.random.Generator,
    draws: int = 10,
    normalize: bool = True,
    floors: Floors | None = None,
) -> NullSimilarity:
    """Compute SimAOU with one of the two updates replaced by one that knows nothing of this query.

    * `gaussian`: a finetuned update from N(0, I).
    * `uniform01_update`: a finetuned update from U[0, 1)^d (the code of Dai et al.).
    * `uniform_hidden_minus_zsl`: `h~_rand - h~_zsl` with `h_rand` from U[0, 1)^d (the text of Bar Natan et
      al.).
    * `permuted_pairs`: the in-context update of one query with the finetuned update of another, for `draws`
      derangements; NaN for a single query. Batch by batch, use `permuted_pairs`.
    * `shared_baseline`: likewise with the in-context output of another query; see `shared_baseline`.

    The random updates are drawn example by example, so a `Generator` passed on from batch to batch gives what
    one call on all examples gives.

    Args:
        zero_shot: `[N, L, d]` attention output.
        icl: `[N, L, d]` attention output.
        finetuned: `[N, L, d]` attention output; only `permuted_pairs` and `shared_baseline` read it, the others
            take None.
        kind: Which null.
        seed: Seed of the draws, or a generator to go on drawing from.
        draws: How many draws, R.
        normalize: As in `sim_aou`.
        floors: As in `sim_aou`.

    Raises:
        ValueError: The shapes differ, a value is not finite, `draws < 1`, the kind is unknown, or a null of
            other queries was given no finetuned output.
    """
    require_shape("N L d", zero_shot=zero_shot, icl=icl)
    if draws < 1:
        raise ValueError(f"a null needs at least one draw, got draws={draws}")
    if kind not in get_args(NullKind):
        raise ValueError(f"unknown null {kind!r}, choose one of {', '.join(get_args(NullKind))}")
    generator = np.random.default_rng(seed)
    examples, layers, width = zero_shot.shape
    if kind in _OF_OTHER_QUERIES:
        if finetuned is None:
            raise ValueError(f"the null {kind!r} needs the finetuned attention output, got None")
        require_shape("N L d", zero_shot=zero_shot, icl=icl, finetuned=finetuned)
        if examples < 2:
            return undefined_null(kind, draws, examples, layers)
        partners = torch.stack([derangement(examples, generator) for _ in range(draws)])
        of_others = permuted_pairs if kind == "permuted_pairs" else shared_baseline
        return of_others(zero_shot, icl, finetuned, partner=partners, normalize=normalize, floors=floors)

    per_example = layers * width if kind == "gaussian" else draws * layers * width
    chunks = []
    for rows in example_slices(examples, per_example):
        lengths = floors or output_floors(zero_shot[rows], normalize=normalize)
        update = attention_output_update(zero_shot[rows], icl[rows], normalize=normalize)
        update = without_rounding(update, lengths.icl)
        if kind == "gaussian":
            chunks.append(_gaussian_cosines(update, draws, generator))
            continue
        random = torch.from_numpy(generator.random((len(update), draws, layers, width)))
        if kind == "uniform_hidden_minus_zsl":
            before = repeat(zero_shot[rows], "n l d -> (n r) l d", r=draws)
            random = rearrange(random, "n r l d -> (n r) l d")
            random = attention_output_update(before, random, normalize=normalize)
            random = rearrange(random, "(n r) l d -> n r l d", r=draws)
        chunks.append(rearrange(cosine(update.unsqueeze(1), random), "n r l -> r n l"))
    return NullSimilarity(kind, concatenate_chunks(chunks, (draws, 0, layers), dim=1))


def permuted_pairs(
    zero_shot: Tensor,
    icl: Tensor,
    finetuned: Tensor,
    *,
    partner: Tensor,
    examples: Tensor | None = None,
    normalize: bool = True,
    floors: Floors | None = None,
) -> NullSimilarity:
    """Compare the finetuned update of each query in a batch with the in-context update of another query.

    Args:
        zero_shot: `[N, L, d]` attention output of all queries.
        icl: `[N, L, d]` attention output of all queries.
        finetuned: `[n, L, d]` attention output of the queries of this batch.
        partner: `[N]` or `[R, N]` derangements (see `derangement`): query `j`'s finetuned update is compared
            with the in-context update of query `partner[j]`.
        examples: `[n]` which queries the batch holds, in its order; None for all, in order.
        normalize: As in `sim_aou`.
        floors: As in `sim_aou`.

    Returns:
        The null with R draws; row `k` of the examples axis belongs to query `examples[k]`.

    Raises:
        ValueError: The shapes do not fit, `examples` points outside, or a partner row is no derangement.
    """
    batch = (partner, examples, normalize, floors)
    return _with_partners("permuted_pairs", zero_shot, icl, finetuned, *batch)


def shared_baseline(
    zero_shot: Tensor,
    icl: Tensor,
    finetuned: Tensor,
    *,
    partner: Tensor,
    examples: Tensor | None = None,
    normalize: bool = True,
    floors: Floors | None = None,
) -> NullSimilarity:
    """Compare the updates of each query in a batch as if another query's in-context output were its own.

    SimAOU of the query's own zero-shot and finetuned output with the in-context output of query `partner[j]`:
    the two updates still share their zero-shot output, and have lost what ties ICL to this query. Undefined where
    SimAOU itself is, so that the two are means over the same queries and layers.

    Arguments, result and errors are those of `permuted_pairs`.
    """
    batch = (partner, examples, normalize, floors)
    return _with_partners("shared_baseline", zero_shot, icl, finetuned, *batch)


def undefined_null(kind: NullKind, draws: int, examples: int, layers: int) -> NullSimilarity:
    """Return a null without a value, as a single query has where another is needed."""
    return NullSimilarity(kind, torch.full((draws, examples, layers), torch.nan, dtype=torch.float64))


def _with_partners(
    kind: NullKind,
    zero_shot: Tensor,
    icl: Tensor,
    finetuned: Tensor,
    partner: Tensor,
    examples: Tensor | None,
    normalize: bool,
    floors: Floors | None,
) -> NullSimilarity:
    require_shape("N L d", zero_shot=zero_shot, icl=icl)
    total, layers, width = zero_shot.shape
    partners = torch.atleast_2d(partner)
    require_derangements(partners, total)
    examples = torch.arange(total) if examples is None else examples
    if finetuned.shape != (len(examples), layers, width):
        raise ValueError(
            f"expected finetuned {(len(examples), layers, width)} for {len(examples)} examples, "
            f"got {tuple(finetuned.shape)}"
        )
    if len(examples) and not 0 <= int(examples.min()) <= int(examples.max()) < total:
        raise ValueError(
            f"examples must lie in 0..{total - 1}, got {int(examples.min())}..{int(examples.max())}"
        )
    chunks = []
    for rows in example_slices(len(examples), layers * width):
        own = examples[rows]
        lengths = floors or output_floors(zero_shot[own], normalize=normalize)
        update_ft = attention_output_update(zero_shot[own], finetuned[rows], normalize=normalize)
        update_ft = without_rounding(update_ft, lengths.ft)

        def update_of(before: Tensor, other: Tensor, floor: Floor = lengths.icl) -> Tensor:
            update = attention_output_update(zero_shot[before], icl[other], normalize=normalize)
            return without_rounding(update, floor)

        if kind == "shared_baseline":
            # Where the query's own update is only rounding there is nothing that this could be a null of.
            missing = (update_of(own, own) == 0).all(-1)
            update_ft = update_ft.masked_fill(missing[..., None], 0.0)
        chunks.append(
            torch.stack(
                [
                    cosine(update_of(own if kind == "shared_baseline" else other, other), update_ft)
                    for other in partners[:, own]
                ]
            )
        )
    return NullSimilarity(kind, concatenate_chunks(chunks, (len(partners), 0, layers), dim=1))


def _gaussian_cosines(update: Tensor, draws: int, generator: np.random.Generator) -> Tensor:
    """Draw cosines `[R, n, L]` of the updates `[n, L, d]` with independent N(0, I) vectors.

    N(0, I) has no preferred direction, so the law of the cosine does not depend on the update: it is
    `t / sqrt(t^2 + d - 1)` with `t` from Student's t with `d - 1` degrees of freedom. Drawing `t` is exact
    and costs one number instead of `d`.
    """
    examples, layers, width = update.shape
    shape = (examples, draws, layers)
    if width == 1:
        cosines = np.sign(generator.standard_normal(shape))
    else:
        t = generator.standard_t(width - 1, shape)
        cosines = t / np.hypot(t, np.sqrt(width - 1))
    values = rearrange(torch.from_numpy(cosines), "n r l -> r n l")
    values[:, (update == 0).all(-1)] = torch.nan
    return values


def require_derangements(partners: Tensor, total: int) -> None:
    """Raise ValueError unless every row of `[R, total]` is a permutation without a fixed point."""
    places = torch.arange(total)
    if partners.ndim != 2 or partners.shape[1] != total:
        raise ValueError(f"expected partner [{total}] or [R, {total}], got shape {tuple(partners.shape)}")
    if not torch.equal(partners.sort(dim=1).values, places.expand_as(partners)):
        raise ValueError(
            f"each row of partner {tuple(partners.shape)} must be a permutation of 0..{total - 1}"
        )
    fixed = int((partners == places).sum())
    if fixed:
        raise ValueError(
            f"partner must be a derangement, but {fixed} of {total} examples are their own partner"
        )
