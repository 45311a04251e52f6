"""An update of a layer's attention output in two parts: what is made in this layer, and what comes with its input.

Between the output before a change and the output after it stands a third one: of the unchanged layer on the inputs
that it has after the change. The way from there to the output after is *direct*, the way to there is *inherited*, and
the two are exactly the update. Of in-context learning the unchanged layer is the one that does not see the
demonstrations, of finetuning the one with the pretrained weights (R23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors, hold_tensors
from .rounding import Floor, rounding_floor
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

UpdatePart = Literal["total", "direct", "inherited"]
PARTS: tuple[UpdatePart, ...] = ("direct", "inherited")


@dataclass(frozen=True, eq=False)
class SplitOutputs:
    """Attention outputs between which one change is divided, ``[N, L, d]`` each.

    Attributes:
        before: Before the change: zero-shot.
        inheriting: Of the unchanged layer on the inputs that it has after the change.
        after: After the change.
        floor: Up to which length a difference is only rounding, relative to the outputs; a number or ``[L]``. None
            takes the outputs for computed in the dtype that they come in.
    """

    before: Tensor
    inheriting: Tensor
    after: Tensor
    floor: Floor | None = None

    def __post_init__(self) -> None:
        """Take arrays of any tool, and check their shapes."""
        hold_tensors(self, "before", "inheriting", "after")
        if self.floor is not None and not isinstance(self.floor, float | int):
            hold_tensors(self, "floor")
        require_shape("N L d", before=self.before, inheriting=self.inheriting, after=self.after)


_ENDS: dict[str, tuple[str, str]] = {
    "total": ("before", "after"),
    "direct": ("inheriting", "after"),
    "inherited": ("before", "inheriting"),
}


@dataclass(frozen=True, eq=False)
class PartShares:
    """How much of each update its parts are, per query and layer (float64, CPU), all NaN where it is only rounding.

    Attributes:
        products: Of each part the inner product with the whole update, ``[N, L]``; together they are `squares`.
        lengths: Of each part its squared length, ``[N, L]``.
        squares: Squared length of the whole update, ``[N, L]``.
    """

    products: dict[UpdatePart, Tensor]
    lengths: dict[UpdatePart, Tensor]
    squares: Tensor

    def share(self, part: UpdatePart) -> Tensor:
        """Return the signed share of a part in each update, ``[N, L]``; those of one update sum to 1."""
        return self.products[part] / self.squares


def part_shares(outputs: SplitOutputs) -> PartShares:
    """Return the signed shares of the direct and the inherited part, ``<part, total> / ||total||^2`` (R23).

    Lengths do not sum to that of the update where the parts are opposed; signed shares do.

    Args:
        outputs: The outputs of one change; they are taken as they are, not at length 1.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    examples, layers, width = outputs.before.shape
    squares: list[Tensor] = []
    products: dict[UpdatePart, list[Tensor]] = {part: [] for part in PARTS}
    lengths: dict[UpdatePart, list[Tensor]] = {part: [] for part in PARTS}
    for rows in example_slices(examples, layers * width):
        own = torch.arange(examples)[rows]
        total = _update(outputs, "total", own, own, normalize=False)
        square = total.square().sum(-1)
        missing = square == 0
        squares.append(square.masked_fill(missing, torch.nan))
        for part in PARTS:
            # Differences as they are: what is cut off as rounding in one part would be missing from the sum.
            update = _difference(outputs, part, own)
            products[part].append((update * total).sum(-1).masked_fill(missing, torch.nan))
            lengths[part].append(update.square().sum(-1).masked_fill(missing, torch.nan))
    empty = (0, layers)
    return PartShares(
        {part: concatenate_chunks(chunks, empty) for part, chunks in products.items()},
        {part: concatenate_chunks(chunks, empty) for part, chunks in lengths.items()},
        concatenate_chunks(squares, empty),
    )


@dataclass(frozen=True, eq=False)
class PartSimilarity:
    """How alike the parts of two updates are, per query and layer (float64, CPU).

    Attributes:
        values: Cosine of a part of the first update with one of the second, ``[N, L]``; NaN where one is rounding.
        permuted_pairs: The same with the first part of another query, mean over R derangements, ``[N, L]``.
        shared_baseline: The same with a first part that starts from this query's output and ends at another's.
        contribution: What this pair of parts adds to SimAOU, ``[N, L]``: those of all four pairs sum to it. NaN where
            SimAOU is.
    """

    values: Tensor
    permuted_pairs: Tensor
    shared_baseline: Tensor
    contribution: Tensor


def part_similarity(
    icl: SplitOutputs,
    finetuned: SplitOutputs,
    icl_part: UpdatePart,
    finetuned_part: UpdatePart,
    *,
    partners: ArrayLike | None = None,
) -> PartSimilarity:
    """Compare a part of what in-context learning changes with a part of what finetuning changes.

    Outputs are taken at length 1, so that ``total`` with ``total`` is SimAOU (`sim_aou`), and its nulls theirs.

    Args:
        icl: The outputs of in-context learning.
        finetuned: Those of finetuning, with the same outputs before.
        icl_part: The part of the first.
        finetuned_part: The part of the second.
        partners: Derangements ``[R, N]`` for the nulls; None leaves them out.

    Raises:
        ValueError: The shapes differ, or a value is NaN or infinite.
    """
    require_shape("N L d", icl=icl.before, finetuned=finetuned.before)
    examples, layers, width = icl.before.shape
    found: dict[str, list[Tensor]] = {
        name: [] for name in ("values", "permuted_pairs", "shared_baseline", "contribution")
    }
    others = None if partners is None else torch.atleast_2d(as_tensors(partners)[0])
    for rows in example_slices(examples, layers * width):
        own = torch.arange(examples)[rows]

        def first(starts: Tensor, ends: Tensor, part: UpdatePart = icl_part) -> Tensor:
            return _update(icl, part, starts, ends, normalize=True)

        second = _update(finetuned, finetuned_part, own, own, normalize=True)
        values = cosine(first(own, own), second)
        found["values"].append(values)
        totals = first(own, own, "total"), _update(finetuned, "total", own, own, normalize=True)
        both = torch.linalg.vector_norm(totals[0], dim=-1) * torch.linalg.vector_norm(totals[1], dim=-1)
        product = _unit_difference(icl, icl_part, own) * _unit_difference(finetuned, finetuned_part, own)
        found["contribution"].append(product.sum(-1) / both.masked_fill(both == 0, torch.nan))
        for name in ("permuted_pairs", "shared_baseline"):
            if others is None:
                found[name].append(torch.full_like(values, torch.nan))
                continue
            draws = torch.stack(
                [
                    cosine(first(other if name == "permuted_pairs" else own, other), second)
                    for other in others[:, own]
                ]
            )
            # A null of what has no value would be a mean over other queries and layers.
            found[name].append(draws.nanmean(0).masked_fill(values.isnan(), torch.nan))
    empty = (0, layers)
    return PartSimilarity(**{name: concatenate_chunks(chunks, empty) for name, chunks in found.items()})


def _update(
    outputs: SplitOutputs, part: UpdatePart, starts: Tensor, ends: Tensor, *, normalize: bool
) -> Tensor:
    """Return a part of the update of some queries, ``[n, L, d]`` in float64; what is only rounding is zero.

    Args:
        outputs: The outputs.
        part: Which part.
        starts: Which queries' outputs the part starts from, ``[n]``.
        ends: Which queries' outputs it ends at; others than `starts` make a null of a shared baseline.
        normalize: Divide each output by its length first, as SimAOU does.
    """
    first, last = _ENDS[part]
    start, end = as_float64(getattr(outputs, first)[starts]), as_float64(getattr(outputs, last)[ends])
    require_finite(f"the attention output {first}", start)
    require_finite(f"the attention output {last}", end)
    floor = rounding_floor(outputs.before.dtype) if outputs.floor is None else outputs.floor
    if normalize:
        return without_rounding(unit(end) - unit(start), floor)
    lengths = torch.linalg.vector_norm(as_float64(outputs.before[starts]), dim=-1)
    return without_rounding(end - start, floor * lengths)


def _difference(outputs: SplitOutputs, part: UpdatePart, queries: Tensor) -> Tensor:
    first, last = _ENDS[part]
    return as_float64(getattr(outputs, last)[queries]) - as_float64(getattr(outputs, first)[queries])


def _unit_difference(outputs: SplitOutputs, part: UpdatePart, queries: Tensor) -> Tensor:
    first, last = _ENDS[part]
    return unit(as_float64(getattr(outputs, last)[queries])) - unit(
        as_float64(getattr(outputs, first)[queries])
    )


assert set(get_args(UpdatePart)) == set(_ENDS)
