"""How far ICL and finetuning move the attention of a row over the tokens of the query from where it was zero-shot.

The row is the softmax of its pre-softmax scores over the compared columns: what the demonstrations take in context is
no change, nor what the first token takes where it is left out of the columns. Whether two changes go the same way is
what `sim_am` (``delta``) says of the same scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors, hold_tensors
from .attention_scores import ComparedColumns, change_floors, masked_scores
from .rounding import Floors
from .vectors import concatenate_chunks, example_slices, require_shape


@dataclass(frozen=True, eq=False)
class AttentionChanges:
    """How far two settings move the attention of each row from zero-shot (float64, CPU).

    Attributes:
        icl: `[N, L, H]` total variation between the ICL and the zero-shot row, from 0 (the same) to 1 (nothing in
            common). 0 where the scores changed no more than rounding does; NaN where no column is compared.
        ft: `[N, L, H]` the same of the finetuned row.
        icl_is_rounding: `[N, L, H]` bool, where the scores changed no more than rounding does.
        ft_is_rounding: `[N, L, H]` bool, the same of finetuning.
    """

    icl: Tensor
    ft: Tensor
    icl_is_rounding: Tensor
    ft_is_rounding: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        hold_tensors(self, "icl", "ft", "icl_is_rounding", "ft_is_rounding")
        require_shape(
            "N L H",
            icl=self.icl,
            ft=self.ft,
            icl_is_rounding=self.icl_is_rounding,
            ft_is_rounding=self.ft_is_rounding,
        )


def attention_changes(
    zero_shot: ArrayLike,
    icl: ArrayLike,
    finetuned: ArrayLike,
    columns: ArrayLike,
    *,
    visible: ArrayLike | None = None,
    floors: Floors | None = None,
) -> AttentionChanges:
    """Measure the total variation from zero-shot of the attention over the compared columns.

    It is half the sum of the absolute differences of two softmaxes over the compared columns: the share of the row's
    attention that lies on other columns than zero-shot.

    Args:
        zero_shot: `[N, L, H, Q]` scores without demonstrations.
        icl: `[N, L, H, Q]` scores of the same queries behind demonstrations, columns aligned.
        finetuned: `[N, L, H, Q]` scores of the finetuned model without demonstrations.
        columns: `[N, Q]` bool, which columns are compared.
        visible: As in `sim_am`: columns that the row may attend to in all settings.
        floors: As in `sim_am`: up to which root mean square over the compared columns a change of the scores is only
            rounding, see `score_floors`.

    Raises:
        ValueError: Shapes do not fit, or a compared score is not finite.
    """
    zero_shot, icl, finetuned, columns = as_tensors(zero_shot, icl, finetuned, columns)
    visible = as_tensor(visible)
    require_shape("N L H Q", zero_shot=zero_shot, icl=icl, finetuned=finetuned)
    examples, layers, heads, width = icl.shape
    compared = ComparedColumns(columns, visible, (examples, layers, width))
    chunks = []
    for rows in example_slices(examples, layers * heads * width):
        mask = compared.of(rows)
        before, demonstrated, after = (
            masked_scores(name, scores[rows], mask)
            for name, scores in (("zero_shot", zero_shot), ("icl", icl), ("finetuned", finetuned))
        )
        lengths = change_floors(before, mask, floors, icl.dtype)
        found = [
            _change(before, other, mask, torch.as_tensor(length))
            for other, length in ((demonstrated, lengths.icl), (after, lengths.ft))
        ]
        chunks.append(torch.stack([part for pair in found for part in pair], dim=1))
    joined = concatenate_chunks(chunks, (0, 4, layers, heads))
    icl_variation, icl_rounding, ft_variation, ft_rounding = rearrange(joined, "n k l h -> k n l h")
    return AttentionChanges(icl_variation, ft_variation, icl_rounding > 0, ft_rounding > 0)


def _change(before: Tensor, after: Tensor, mask: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the total variation, and 1 where the change is only rounding, `[n, L, H]` each."""
    rounding = torch.linalg.vector_norm(after - before, dim=-1) <= floor
    shares = [scores.masked_fill(~mask, -torch.inf).softmax(-1) for scores in (before, after)]
    variation = (shares[1] - shares[0]).abs().sum(-1) / 2
    # A row without any compared column has no softmax: NaN.
    missing = ~mask.any(-1).expand_as(variation)
    return variation.masked_fill(rounding, 0.0).masked_fill(missing, torch.nan), rounding.to(variation.dtype)
