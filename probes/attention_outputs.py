"""SimAOU: do in-context learning and finetuning move the attention output in the same direction?

Dai et al. 2023, and Bar Natan et al., section 3.2. The similarity of an example depends on that example
alone, so `sim_aou` may be called batch by batch and the results joined with `SimAOU.concatenate`.

Both updates are taken from the same zero-shot output, so they have something in common before anything was
learned: three independent isotropic outputs have a SimAOU of 0.5. What of a number that explains, the null
`shared_baseline` of `attention_nulls` tells; `partial_outputs` takes the zero-shot output out altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
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


@dataclass(frozen=True, eq=False)
class SimAOU:
    """Similarity of attention output updates, per example and layer (float64, CPU).

    Attributes:
        values: `[N, L]` cosine of the two updates, NaN where either update is only rounding.
        update_norms_icl: `[N, L]` length of the update that the demonstrations made.
        update_norms_ft: `[N, L]` length of the update that finetuning made.
    """

    values: Tensor
    update_norms_icl: Tensor
    update_norms_ft: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        require_shape(
            "N L",
            values=self.values,
            update_norms_icl=self.update_norms_icl,
            update_norms_ft=self.update_norms_ft,
        )

    @property
    def undefined(self) -> Tensor:
        """`[L]` number of examples without a defined similarity."""
        return self.values.isnan().sum(0)

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over the examples that have a value; NaN where none has."""
        return self.values.nanmean(0)

    @property
    def undefined_layers(self) -> int:
        """Number of layers in which no example has a value; `mean` leaves them out."""
        return int(self.layer_profile.isnan().sum())

    @property
    def mean(self) -> float:
        """Mean over layers of the layer profile; NaN if no layer has a value."""
        return float(self.layer_profile.nanmean())

    def select(self, examples: ArrayLike) -> SimAOU:
        """Return the result for these examples: a bool mask `[N]`, or indices in the order wanted."""
        examples = as_tensor(examples)
        return SimAOU(self.values[examples], self.update_norms_icl[examples], self.update_norms_ft[examples])

    @staticmethod
    def concatenate(parts: Sequence[SimAOU]) -> SimAOU:
        """Join results of successive batches along the example axis.

        Raises:
            ValueError: There is none.
        """
        if not parts:
            raise ValueError("SimAOU.concatenate needs at least one part, got none")
        return SimAOU(
            torch.cat([part.values for part in parts]),
            torch.cat([part.update_norms_icl for part in parts]),
            torch.cat([part.update_norms_ft for part in parts]),
        )


def sim_aou(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    *,
    normalize: bool = True,
    floors: Floors | None = None,
) -> SimAOU:
    """Compare the attention output updates of in-context learning and of finetuning.

    For each example and layer, the cosine of `h~_icl - h~_zsl` with `h~_ft - h~_zsl`, where `h~ = h /
    ||h||_2` (Bar Natan et al., section 3.2; the code of Dai et al. adds 1e-20 to each norm, so that an update
    of zero counts as similarity 0 there; here an update that is zero or only rounding is NaN and counted).

    Args:
        zero_shot: `[N, L, d]` attention output (after the output projection, before the residual).
        icl: `[N, L, d]` the same queries behind demonstrations.
        finetuned: `[N, L, d]` the same queries, finetuned model, no demonstrations.
        normalize: Divide each output by its L2 norm before subtracting.
        floors: Up to which length an update is only rounding, numbers or `[L]`. None takes the outputs for
            computed in the dtype that they come in, without later positions: hand in `Floors.of` the dtype that
            the model computed in where that is another.

    Raises:
        ValueError: The shapes differ, or a value is NaN or infinite.
    """
    zero_shot, icl, finetuned = as_tensors(zero_shot, icl, finetuned)
    require_shape("N L d", zero_shot=zero_shot, icl=icl, finetuned=finetuned)
    examples, layers, width = zero_shot.shape
    values, norms_icl, norms_ft = [], [], []
    for rows in example_slices(examples, layers * width):
        update_icl = attention_output_update(zero_shot[rows], icl[rows], normalize=normalize)
        update_ft = attention_output_update(zero_shot[rows], finetuned[rows], normalize=normalize)
        lengths = floors or output_floors(zero_shot[rows], normalize=normalize)
        values.append(
            cosine(without_rounding(update_icl, lengths.icl), without_rounding(update_ft, lengths.ft))
        )
        norms_icl.append(torch.linalg.vector_norm(update_icl, dim=-1))
        norms_ft.append(torch.linalg.vector_norm(update_ft, dim=-1))
    empty = (0, layers)
    return SimAOU(*(concatenate_chunks(chunks, empty) for chunks in (values, norms_icl, norms_ft)))


def attention_output_update(before: ArrayLike, after: ArrayLike, *, normalize: bool = True) -> Tensor:
    """Return how the attention output changed: `h~_after - h~_before`, in float64.

    Args:
        before: `[N, L, d]` attention output, usually zero-shot.
        after: `[N, L, d]` attention output of the same queries in another setting.
        normalize: Divide each output by its L2 norm before subtracting.

    Returns:
        `[N, L, d]` the update.

    Raises:
        ValueError: The shapes differ, or a value is NaN or infinite.
    """
    before, after = as_tensors(before, after)
    require_shape("N L d", before=before, after=after)
    before, after = as_float64(before), as_float64(after)
    require_finite("the attention output before the update", before)
    require_finite("the attention output after the update", after)
    return unit(after) - unit(before) if normalize else after - before


def output_floors(zero_shot: ArrayLike, *, normalize: bool) -> Floors:
    """Return the floors of updates of outputs that were computed in the dtype that they come in.

    Args:
        zero_shot: `[N, L, d]` attention output.
        normalize: As in `sim_aou`; without, the floors are those of each output's length, `[N, L]`.
    """
    zero_shot = as_tensor(zero_shot)
    floors = Floors.of(zero_shot.dtype)
    if normalize:
        return floors
    lengths = torch.linalg.vector_norm(as_float64(zero_shot), dim=-1)
    return Floors(floors.icl * lengths, floors.ft * lengths)
