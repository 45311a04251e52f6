"""SimAOU without what the two updates share anyway: the zero-shot output, and what is common to all queries.

The updates of in-context learning and of finetuning are both taken from the zero-shot output, which alone makes
them alike, and both have a large part that is the same for every query. Here outputs are centred over the queries,
and of the centred in-context and finetuned output of a layer as much of the zero-shot one is taken away as either
holds (a partial correlation, with one scalar for each layer). What two outputs of one query still have in common is
particular to the query: three independent outputs have 0, and so has a change that is the same for all queries.

It needs all queries, and goes over them several times, some at a time: they may lie in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .attention_outputs import SimAOU, output_floors
from .null_similarity import NullSimilarity
from .rounding import Floors
from .vectors import (
    as_float64,
    concatenate_chunks,
    cosine,
    example_slices,
    require_finite,
    require_shape,
    unit,
    without_rounding,
)


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
    return partial_similarity(zero_shot, icl, finetuned, normalize=normalize, floors=floors)[0]


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
    return partial_similarity(zero_shot, icl, finetuned, normalize=normalize, floors=floors)[1]


def partial_similarity(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    normalize: bool = True,
    floors: Floors | None = None,
) -> tuple[SimAOU, NullSimilarity]:
    """Return `partial_sim_aou` and `partial_permuted_pairs`, which have most of their work in common.

    Arguments and errors are those of either.
    """
    zero_shot, icl, finetuned = as_tensors(zero_shot, icl, finetuned)
    residuals = _Residuals.of({"zero_shot": zero_shot, "icl": icl, "finetuned": finetuned}, normalize, floors)
    layers, width = zero_shot.shape[1:]
    values, norms_icl, norms_ft = [], [], []
    total = torch.zeros(layers, width, dtype=torch.float64)
    counted = torch.zeros(layers, dtype=torch.int64)
    for residual_icl, residual_ft, lengths in residuals:
        norms_icl.append(torch.linalg.vector_norm(residual_icl, dim=-1))
        norms_ft.append(torch.linalg.vector_norm(residual_ft, dim=-1))
        residual_icl = without_rounding(residual_icl, lengths.icl)
        values.append(cosine(residual_icl, without_rounding(residual_ft, lengths.ft)))
        first = unit(residual_icl)
        total += first.sum(0)
        counted += (first != 0).any(-1).sum(0)
    nulls = []
    for residual_icl, residual_ft, lengths in residuals:
        first = unit(without_rounding(residual_icl, lengths.icl))
        second = unit(without_rounding(residual_ft, lengths.ft))
        # A sum of cosines with unit vectors is the product with their sum; the query's own does not count.
        products = (second * (total - first)).sum(-1) / (counted - (first != 0).any(-1).to(first.dtype))
        nulls.append(torch.where((second != 0).any(-1), products, torch.nan))
    empty = (0, layers)
    return (
        SimAOU(*(concatenate_chunks(chunks, empty) for chunks in (values, norms_icl, norms_ft))),
        NullSimilarity("permuted_pairs", concatenate_chunks(nulls, empty)[None]),
    )


@dataclass(frozen=True, eq=False)
class _Residuals:
    """What is left of the in-context and the finetuned outputs, made anew for some queries at a time.

    Attributes:
        settings: The outputs `[N, L, d]`: zero-shot, in-context and finetuned.
        normalize: Whether each is divided by its length first.
        floors: Up to which length a residual is only rounding; None takes those of the outputs' dtype.
        means: Of each setting over all queries, `[L, d]`.
        slopes: How much of the zero-shot output the other two hold, `[L]`.
    """

    settings: tuple[Tensor, ...]
    normalize: bool
    floors: Floors | None
    means: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]

    @classmethod
    def of(cls, settings: dict[str, Tensor], normalize: bool, floors: Floors | None) -> _Residuals:
        """Go over all queries for the means, and again for the slopes."""
        require_shape("N L d", **settings)
        outputs = tuple(settings.values())
        examples, layers, width = outputs[0].shape
        sums = [torch.zeros(layers, width, dtype=torch.float64) for _ in outputs]
        for rows in example_slices(examples, layers * width):
            for name, total, output in zip(settings, sums, outputs, strict=True):
                taken = as_float64(output[rows])
                if not bool(taken.isfinite().all()):
                    for layer in range(layers):
                        require_finite(f"the {name} attention output of layer {layer}", taken[:, layer])
                total += (unit(taken) if normalize else taken).sum(0)
        found = cls(outputs, normalize, floors, tuple(total / max(1, examples) for total in sums), ())
        size, *products = (torch.zeros(layers, dtype=torch.float64) for _ in outputs)
        for _, (before, *after) in found._centred():
            size += before.square().sum((0, 2))
            for product, change in zip(products, after, strict=True):
                product += (change * before).sum((0, 2))
        slopes = tuple(product / torch.where(size > 0, size, 1.0) for product in products)
        return cls(outputs, normalize, floors, found.means, slopes)

    def _centred(self) -> Iterator[tuple[slice, list[Tensor]]]:
        examples, layers, width = self.settings[0].shape
        for rows in example_slices(examples, layers * width):
            taken = [as_float64(output[rows]) for output in self.settings]
            taken = [unit(output) for output in taken] if self.normalize else taken
            yield rows, [output - mean for output, mean in zip(taken, self.means, strict=True)]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Floors]]:
        """Yield the residuals `[n, L, d]` of some queries, and up to which length they are only rounding."""
        for rows, (before, *after) in self._centred():
            floors = self.floors or output_floors(self.settings[0][rows], normalize=self.normalize)
            icl, finetuned = (
                change - slope[:, None] * before for change, slope in zip(after, self.slopes, strict=True)
            )
            yield icl, finetuned, floors
