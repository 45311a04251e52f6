"""What SimAM of the changes (delta) is by the zero-shot row alone that both changes are taken from.

As with SimAOU, `m_icl - m_zsl` and `m_ft - m_zsl` share `- m_zsl`: three independent rows have a cosine of 0.5.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .attention_scores import ComparedColumns, SimAM, change_floors, masked_scores
from .other_queries import require_derangements
from .rounding import Floors
from .vectors import concatenate_chunks, cosine, example_slices, require_shape, without_rounding


def delta_shared_baseline(
    finetuned: ArrayLike,
    icl: ArrayLike,
    columns: ArrayLike,
    *,
    zero_shot: ArrayLike,
    partner: ArrayLike,
    examples: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    floors: Floors | None = None,
) -> SimAM:
    """Compare the changes of each query's scores as if another query's in-context row were its own.

    Queries differ in length, so rows are laid over each other from the last token backwards, over the columns that
    both have: the tokens that a template puts after its input stand under each other. What is left is what the
    zero-shot row makes of two changes taken from it, and what ICL does to the rows of all queries alike. It takes
    away what ties ICL to this query, its own tokens included.

    Args:
        finetuned: `[n, L, H, Q]` finetuned scores of the queries of this batch.
        icl: `[N, L, H, Q]` in-context scores of all queries, columns aligned with those of `zero_shot`.
        columns: `[N, Q]` bool, which columns hold a token of the query, for all queries.
        zero_shot: `[N, L, H, Q]` zero-shot scores of all queries.
        partner: `[N]` or `[R, N]` derangements, see `derangement`: query `j` takes the in-context row of
            `partner[j]`.
        examples: `[n]` which queries the batch holds, in its order; None for all, in order.
        visible: Of all queries, broadcastable to `[N, L, 1, Q]`, as in `sim_am`.
        floors: As in `sim_am`.

    Returns:
        SimAM `delta` of the batch, mean over the R derangements; undefined where demonstrations changed no more
        of a query's own row than rounding does.

    Raises:
        ValueError: The shapes do not fit, a compared score is not finite, or a partner row is no derangement.
    """
    finetuned, icl, columns, zero_shot, partner = as_tensors(finetuned, icl, columns, zero_shot, partner)
    examples, visible = as_tensor(examples), as_tensor(visible)
    require_shape("N L H Q", zero_shot=zero_shot, icl=icl)
    total, layers, heads, width = icl.shape
    partners = torch.atleast_2d(partner)
    require_derangements(partners, total)
    examples = torch.arange(total) if examples is None else examples
    if finetuned.shape != (len(examples), layers, heads, width):
        raise ValueError(
            f"expected finetuned {(len(examples), layers, heads, width)} for {len(examples)} examples, "
            f"got {tuple(finetuned.shape)}"
        )
    compared = ComparedColumns(columns, visible, (total, layers, width))
    chunks = []
    for rows in example_slices(len(examples), layers * heads * width):
        own = examples[rows]
        ends = _last_tokens_last(columns[own])
        mask = _take(compared.of(own), ends)
        before, after, demonstrated = (
            _take(scores, ends) for scores in (zero_shot[own], finetuned[rows], icl[own])
        )
        # Where the query's own change is only rounding there is nothing that this could be a null of.
        reference = masked_scores("zero_shot", before, mask)
        lengths = change_floors(reference, mask, floors, icl.dtype)
        change = masked_scores("icl", demonstrated, mask) - reference
        missing = (without_rounding(change, lengths.icl) == 0).all(-1)
        drawn = []
        for other in partners[:, own]:
            others_ends = _last_tokens_last(columns[other])
            both = mask & _take(compared.of(other), others_ends)
            reference = masked_scores("zero_shot", before, both)
            lengths = change_floors(reference, both, floors, icl.dtype)
            change_ft = masked_scores("finetuned", after, both) - reference
            change_icl = masked_scores("icl", _take(icl[other], others_ends), both) - reference
            drawn.append(
                cosine(without_rounding(change_ft, lengths.ft), without_rounding(change_icl, lengths.icl))
            )
        chunks.append(torch.stack(drawn).nanmean(0).masked_fill(missing, torch.nan))
    return SimAM("delta", concatenate_chunks(chunks, (0, layers, heads)))


def _last_tokens_last(columns: Tensor) -> Tensor:
    """Return for each row the columns `[N, Q]` in an order that puts its tokens last, as they stand."""
    return columns.cpu().to(torch.uint8).argsort(dim=1, stable=True)


def _take(tensor: Tensor, order: Tensor) -> Tensor:
    """Return `[n, ., ., Q]` with the columns of each row in an order `[n, Q]`."""
    tensor = tensor.cpu()
    return tensor.gather(-1, rearrange(order, "n q -> n 1 1 q").expand(tensor.shape))
