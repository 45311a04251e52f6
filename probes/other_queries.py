"""Nulls of SimAOU made of the outputs of other queries, batch by batch; `attention_nulls` says what each is for."""

from __future__ import annotations

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .attention_outputs import attention_output_update, output_floors
from .null_similarity import NullKind, NullSimilarity
from .rounding import Floor, Floors
from .vectors import concatenate_chunks, cosine, example_slices, require_shape, without_rounding


def permuted_pairs(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    partner: ArrayLike,
    examples: ArrayLike | None = None,
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
    zero_shot, icl, finetuned, partner = as_tensors(zero_shot, icl, finetuned, partner)
    examples = as_tensor(examples)
    batch = (partner, examples, normalize, floors)
    return _with_partners("permuted_pairs", zero_shot, icl, finetuned, *batch)


def shared_baseline(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    partner: ArrayLike,
    examples: ArrayLike | None = None,
    normalize: bool = True,
    floors: Floors | None = None,
) -> NullSimilarity:
    """Compare the updates of each query in a batch as if another query's in-context output were its own.

    SimAOU of the query's own zero-shot and finetuned output with the in-context output of query `partner[j]`:
    the two updates still share their zero-shot output, and have lost what ties ICL to this query. Undefined where
    SimAOU itself is, so that the two are means over the same queries and layers.

    Arguments, result and errors are those of `permuted_pairs`.
    """
    zero_shot, icl, finetuned, partner = as_tensors(zero_shot, icl, finetuned, partner)
    examples = as_tensor(examples)
    batch = (partner, examples, normalize, floors)
    return _with_partners("shared_baseline", zero_shot, icl, finetuned, *batch)


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
