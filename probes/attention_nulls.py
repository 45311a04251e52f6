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

from typing import get_args

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .attention_outputs import attention_output_update, output_floors
from .null_similarity import NullKind, NullSimilarity, undefined_null
from .other_queries import permuted_pairs, shared_baseline
from .rounding import Floors
from .statistics import derangement
from .vectors import concatenate_chunks, cosine, example_slices, require_shape, without_rounding

_OF_OTHER_QUERIES: tuple[NullKind, ...] = ("permuted_pairs", "shared_baseline")


def sim_aou_null(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike | None,
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
    zero_shot, icl = as_tensors(zero_shot, icl)
    finetuned = as_tensor(finetuned)
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
        require_shape("N L d", icl=icl, finetuned=finetuned)
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
