"""SimAOU without what the two updates share anyway: the zero-shot output, and what is common to all queries.

The updates of in-context learning and of finetuning are both taken from the zero-shot output, which alone makes
them alike, and both have a large part that is the same for every query. Here outputs are centred over the queries,
and of the centred in-context and finetuned output of a layer as much of the zero-shot one is taken away as either
holds (a partial correlation, with one scalar for each layer). What two outputs of one query still have in common is
particular to the query: three independent outputs have 0, and so has a change that is the same for all queries.

It needs all queries at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .attention_outputs import SimAOU, output_floors
from .null_similarity import NullSimilarity
from .rounding import Floors
from .vectors import as_float64, cosine, require_finite, require_shape, unit, without_rounding


def partial_sim_aou(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    normalize: bool = True,
    floors: Floors | None = None,
) -> SimAOU:
    """Compare what in-context learning and finetuning change, beyond the zero-shot output and for this query.

    Layer by layer, with outputs centred over queries: the cosine of `h~_icl - b_icl h~_zsl` with
    `h~_ft - b_ft h~_zsl`, each `b` by least squares over all queries and components.

    Args:
        zero_shot: `[N, L, d]` attention output of all queries.
        icl: `[N, L, d]` the same queries behind demonstrations.
        finetuned: `[N, L, d]` the same queries, finetuned model, no demonstrations.
        normalize: Divide each output by its L2 norm first.
        floors: As in `sim_aou`; a residual that is no longer is only rounding and has no cosine.

    Returns:
        The similarities, with the lengths of the residuals as update norms. A single query has none.

    Raises:
        ValueError: The shapes differ, or a value is NaN or infinite.
    """
    zero_shot, icl, finetuned = as_tensors(zero_shot, icl, finetuned)
    values, norms_icl, norms_ft = [], [], []
    for residual_icl, residual_ft, lengths in _residuals(zero_shot, icl, finetuned, normalize, floors):
        norms_icl.append(torch.linalg.vector_norm(residual_icl, dim=-1))
        norms_ft.append(torch.linalg.vector_norm(residual_ft, dim=-1))
        values.append(
            cosine(without_rounding(residual_icl, lengths.icl), without_rounding(residual_ft, lengths.ft))
        )
    return SimAOU(torch.stack(values, 1), torch.stack(norms_icl, 1), torch.stack(norms_ft, 1))


def partial_permuted_pairs(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    normalize: bool = True,
    floors: Floors | None = None,
) -> NullSimilarity:
    """Compare the finetuned residual of each query with the in-context residuals of all others: it lies at 0.

    Nothing is drawn: the value of a query is the mean over every other one. Residuals are centred, so with N queries
    it is about `-own / (N - 1)`, with `own` the similarity itself. Arguments and errors are those of
    `partial_sim_aou`.

    Returns:
        The null with one draw; NaN where a residual, or that of every other query, is only rounding.
    """
    zero_shot, icl, finetuned = as_tensors(zero_shot, icl, finetuned)
    layers = []
    for residual_icl, residual_ft, lengths in _residuals(zero_shot, icl, finetuned, normalize, floors):
        first = unit(without_rounding(residual_icl, lengths.icl))
        second = unit(without_rounding(residual_ft, lengths.ft))
        counts = (first != 0).any(-1)
        # A sum of cosines with unit vectors is the product with their sum; the query's own does not count.
        products = (second * (first.sum(0) - first)).sum(-1) / (counts.sum() - counts.to(first.dtype))
        layers.append(torch.where((second != 0).any(-1), products, torch.nan))
    return NullSimilarity("permuted_pairs", torch.stack(layers, 1)[None])


def _residuals(
    zero_shot: Tensor, icl: Tensor, finetuned: Tensor, normalize: bool, floors: Floors | None
) -> Iterator[tuple[Tensor, Tensor, Floors]]:
    """Yield the residuals `[N, d]` of each layer, and up to which length they are only rounding."""
    settings = {"zero_shot": zero_shot, "icl": icl, "finetuned": finetuned}
    require_shape("N L d", **settings)
    floors = floors or output_floors(zero_shot, normalize=normalize)
    for layer in range(zero_shot.shape[1]):
        centred = []
        for name, outputs in settings.items():
            output = as_float64(outputs[:, layer])
            require_finite(f"the {name} attention output of layer {layer}", output)
            output = unit(output) if normalize else output
            centred.append(output - output.mean(0))
        before, *after = centred
        size = before.square().sum()
        residuals = [
            change - (change * before).sum() / torch.where(size > 0, size, 1.0) * before for change in after
        ]
        lengths = Floors(*(_of_layer(floor, layer) for floor in (floors.icl, floors.ft)))
        yield residuals[0], residuals[1], lengths


def _of_layer(floor: float | Tensor, layer: int) -> float | Tensor:
    return floor[..., layer] if isinstance(floor, Tensor) and floor.ndim else floor
