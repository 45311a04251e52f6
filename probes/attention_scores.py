"""SimAM: do in-context learning and finetuning attend alike to the tokens of the query?

Dai et al. 2023, and Bar Natan et al., section 3.2: the cosine of two rows of pre-softmax attention scores
over the tokens of the query, per head. Raw scores share a large common offset, which the cosine sees; `delta`
compares the changes from zero-shot instead. Those share their zero-shot row, which alone makes them alike: see
`score_nulls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from einops import rearrange
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .options import ScoreVariant
from .rounding import Floor, Floors
from .similarity_means import SimAMMeans, exact_sums
from .vectors import (
    as_float64,
    concatenate_chunks,
    cosine,
    example_slices,
    require_finite,
    require_shape,
    without_rounding,
)


@dataclass(frozen=True, eq=False)
class SimAM:
    """Similarity of attention scores, per example, layer and head (float64, CPU).

    Attributes:
        variant: How the scores were compared, see `sim_am`.
        values: `[N, L, H]` cosine, NaN where either vector is zero, a difference that is only rounding, or no
            column is left.
    """

    variant: ScoreVariant
    values: Tensor

    def __post_init__(self) -> None:
        """Check the shape and the name."""
        require_shape("N L H", values=self.values)
        _require_variant(self.variant)

    @property
    def undefined(self) -> Tensor:
        """`[L]` number of (example, head) pairs without a defined similarity."""
        return self.values.isnan().sum((0, 2))

    @property
    def per_example(self) -> Tensor:
        """`[N, L]` mean over the heads that have a value."""
        return self.values.nanmean(2)

    @property
    def head_profile(self) -> Tensor:
        """`[L, H]` mean over the examples that have a value."""
        return self.values.nanmean(0)

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over heads, then over examples."""
        return self.per_example.nanmean(0)

    def means(self) -> SimAMMeans:
        """Return what is left without the heads of each example."""
        return SimAMMeans(self.variant, self.per_example, *exact_sums(self.values, 0))

    @property
    def undefined_layers(self) -> int:
        """Number of layers without any value; `mean` leaves them out."""
        return int(self.layer_profile.isnan().sum())

    @property
    def mean(self) -> float:
        """Mean over layers of the layer profile; NaN if no layer has a value."""
        return float(self.layer_profile.nanmean())

    def select(self, examples: ArrayLike) -> SimAM:
        """Return the result for these examples: a bool mask `[N]`, or indices in the order wanted."""
        examples = as_tensor(examples)
        return SimAM(self.variant, self.values[examples])

    @staticmethod
    def concatenate(parts: Sequence[SimAM]) -> SimAM:
        """Join results of successive batches (same variant) along the example axis.

        Raises:
            ValueError: There is none, or they are of different variants.
        """
        if len({part.variant for part in parts}) != 1:
            raise ValueError(f"expected parts of one variant, got {[part.variant for part in parts]}")
        return SimAM(parts[0].variant, torch.cat([part.values for part in parts]))


def sim_am(
    zero_shot_or_finetuned: ArrayLike,
    icl: ArrayLike,
    columns: ArrayLike,
    *,
    variant: ScoreVariant = "raw",
    zero_shot: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    floors: Floors | None = None,
) -> SimAM:
    """Compare attention scores over the tokens of the query, with zero-shot (before) or finetuned (after).

    Variants:
        * `raw`: cosine of the scores as they are (Dai et al. 2023; Bar Natan et al., section 3.2).
        * `delta`: cosine of `m_icl - m_zsl` with `m_ft - m_zsl` (the later code of Bar Natan et al.).
        * `centered`: each row's mean over the compared columns is subtracted first (a correlation).
        * `softmax`: cosine of the softmax over the compared columns.

    Args:
        zero_shot_or_finetuned: `[N, L, H, Q]` scores without demonstrations: zero-shot for SimAM before
            finetuning, finetuned for SimAM after it.
        icl: `[N, L, H, Q]` scores of the same queries behind demonstrations, columns aligned.
        columns: `[N, Q]` bool, which columns hold a token of the query.
        variant: How to compare.
        zero_shot: `[N, L, H, Q]` zero-shot scores, for `delta`.
        visible: Bool, broadcastable to `[N, L, 1, Q]`: columns the position may attend to in *both* settings
            (`icl.visible & finetuned.visible`); the others are left out. None for all.
        floors: For the variants that subtract, `delta` and `centered`: up to which root mean square over the
            compared columns a difference is only rounding, numbers or `[L, H]`, see `score_floors`. None takes the
            scores for computed in the dtype that they come in, without later positions, row by row.

    Raises:
        ValueError: Shapes do not fit, a compared score is not finite, the variant is unknown, or `delta` was
            given no zero-shot scores.
    """
    zero_shot_or_finetuned, icl, columns = as_tensors(zero_shot_or_finetuned, icl, columns)
    zero_shot, visible = as_tensor(zero_shot), as_tensor(visible)
    _require_variant(variant)
    settings = {"zero_shot_or_finetuned": zero_shot_or_finetuned, "icl": icl}
    if variant == "delta":
        if zero_shot is None:
            raise ValueError("SimAM variant 'delta' needs zero_shot scores, got None")
        settings["zero_shot"] = zero_shot
    require_shape("N L H Q", **settings)
    examples, layers, heads, width = icl.shape
    compared = ComparedColumns(columns, visible, (examples, layers, width))
    chunks = []
    for rows in example_slices(examples, layers * heads * width):
        mask = compared.of(rows)
        first, second, *reference = [
            masked_scores(name, scores[rows], mask) for name, scores in settings.items()
        ]
        if reference:
            lengths = change_floors(reference[0], mask, floors, icl.dtype)
            first = without_rounding(first - reference[0], lengths.ft)
            second = without_rounding(second - reference[0], lengths.icl)
        elif variant == "centered":
            first = _centered(first, mask, change_floors(first, mask, floors, icl.dtype).ft)
            second = _centered(second, mask, change_floors(second, mask, floors, icl.dtype).icl)
        elif variant == "softmax":
            first, second = _softmax(first, mask), _softmax(second, mask)
        chunks.append(cosine(first, second))
    return SimAM(variant, concatenate_chunks(chunks, (0, layers, heads)))


def score_floors(
    zero_shot: ArrayLike, columns: ArrayLike, *, floors: Floors, visible: ArrayLike | None = None
) -> Floors:
    """Return up to which root mean square over columns a change of scores is only rounding, for each head.

    The rounding of a score goes with the lengths of its query and key, which differ less within a head than its
    scores do: a row whose scores happen to lie near 0 is rounded as the others are. So floors are relative to the
    head's root mean square over all queries.

    Args:
        zero_shot: `[N, L, H, Q]` scores of all queries.
        columns: `[N, Q]` bool, which columns hold a token of the query.
        floors: Relative to the scores, see `Floors.of`.
        visible: As in `sim_am`.

    Returns:
        Floors `[L, H]`, for `sim_am`.

    Raises:
        ValueError: As in `sim_am`.
    """
    zero_shot, columns = as_tensors(zero_shot, columns)
    visible = as_tensor(visible)
    require_shape("N L H Q", zero_shot=zero_shot)
    examples, layers, heads, width = zero_shot.shape
    compared = ComparedColumns(columns, visible, (examples, layers, width))
    squares = torch.zeros(layers, heads, dtype=torch.float64)
    counts = torch.zeros(1, 1, dtype=torch.int64)
    for rows in example_slices(examples, layers * heads * width):
        mask = compared.of(rows)
        squares += masked_scores("zero_shot", zero_shot[rows], mask).square().sum((0, 3))
        counts = counts + mask.sum((0, 3))
    sizes = (squares / counts.clamp(min=1)).sqrt()
    return Floors(floors.icl * sizes, floors.ft * sizes)


def change_floors(scores: Tensor, mask: Tensor, floors: Floors | None, dtype: torch.dtype) -> Floors:
    """Return the lengths `[n, L, H]` up to which differences of masked scores are only rounding.

    Args:
        scores: `[n, L, H, Q]` masked scores, to which default floors are relative.
        mask: `[n, 1 or L, 1, Q]` bool, the compared columns.
        floors: Root mean squares, see `sim_am`.
        dtype: What the scores came in, for default floors.
    """
    if floors is None:
        relative, length = Floors.of(dtype), torch.linalg.vector_norm(scores, dim=-1)
        return Floors(relative.icl * length, relative.ft * length)
    root = mask.sum(-1).to(torch.float64).sqrt()
    return Floors(floors.icl * root, floors.ft * root)


class ComparedColumns:
    """Which columns of each query are compared, worked out for some queries at a time."""

    def __init__(self, columns: Tensor, visible: Tensor | None, shape: tuple[int, int, int]) -> None:
        """Check the shapes.

        Args:
            columns: `[N, Q]` bool.
            visible: Bool, broadcastable to `[N, L, 1, Q]`; None for all.
            shape: N, L and Q.

        Raises:
            ValueError: If they do not fit.
        """
        examples, layers, width = shape
        if columns.dtype != torch.bool or columns.shape != (examples, width):
            raise ValueError(
                f"expected columns {(examples, width)} of torch.bool, "
                f"got {tuple(columns.shape)} of {columns.dtype}"
            )
        self._columns, self._visible = columns, visible
        if visible is None:
            return
        full = (examples, layers, 1, width)
        fits = visible.ndim == 4 and all(
            have in (1, want) for have, want in zip(visible.shape, full, strict=True)
        )
        if visible.dtype != torch.bool or not fits:
            raise ValueError(
                f"expected visible broadcastable to {full} of torch.bool, "
                f"got {tuple(visible.shape)} of {visible.dtype}"
            )

    def of(self, examples: slice | Tensor) -> Tensor:
        """Return the mask `[n, 1 or L, 1, Q]` of these queries."""
        mask = rearrange(self._columns[examples].cpu(), "n q -> n 1 1 q")
        if self._visible is None:
            return mask
        shared = len(self._visible) == 1
        return mask & (self._visible if shared else self._visible[examples]).cpu()


def masked_scores(name: str, scores: Tensor, mask: Tensor) -> Tensor:
    """Return the scores in float64 with 0 where `mask` is False; those left must be finite."""
    masked = torch.where(mask, as_float64(scores), 0.0)
    require_finite(f"{name} scores", masked)
    return masked


def _centered(scores: Tensor, mask: Tensor, floor: Floor) -> Tensor:
    mean = scores.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return without_rounding(torch.where(mask, scores - mean, 0.0), floor)


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    return torch.where(mask, weights, 0.0)


def _require_variant(variant: str) -> None:
    if variant not in get_args(ScoreVariant):
        raise ValueError(
            f"unknown SimAM variant {variant!r}, choose one of {', '.join(get_args(ScoreVariant))}"
        )
