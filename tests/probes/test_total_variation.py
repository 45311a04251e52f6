"""How far attention moves, against the literal sum, and what counts as rounding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iclprobe.probes import Floors, attention_changes


def made() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    zero_shot, icl, finetuned = torch.randn(3, 3, 2, 2, 5, generator=generator, dtype=torch.float64)
    columns = torch.ones(3, 5, dtype=torch.bool)
    columns[0, 0] = columns[1, 3:] = False
    visible = torch.ones(3, 2, 1, 5, dtype=torch.bool)
    visible[2, 1, 0, 0] = False
    return zero_shot, icl, finetuned, columns, visible


def softmax_by_hand(scores: Tensor, places: list[int]) -> list[float]:
    powers = [math.exp(float(scores[place])) for place in places]
    return [power / sum(powers) for power in powers]


def test_it_is_half_the_sum_of_absolute_differences_of_the_softmaxes_over_the_compared_columns() -> None:
    zero_shot, icl, finetuned, columns, visible = made()
    found = attention_changes(zero_shot, icl, finetuned, columns, visible=visible)
    for query in range(3):
        for layer in range(2):
            places = [c for c in range(5) if columns[query, c] and visible[query, layer, 0, c]]
            for head in range(2):
                at = (query, layer, head)
                before = softmax_by_hand(zero_shot[at], places)
                for other, got in ((icl, found.icl), (finetuned, found.ft)):
                    after = softmax_by_hand(other[at], places)
                    want = sum(abs(one - two) for one, two in zip(before, after, strict=True)) / 2
                    assert float(got[at]) == pytest.approx(want, abs=1e-12)
    assert not found.icl_is_rounding.any() and not found.ft_is_rounding.any()


def test_what_stands_outside_the_columns_does_not_count() -> None:
    zero_shot, icl, finetuned, columns, visible = made()
    first = attention_changes(zero_shot, icl, finetuned, columns, visible=visible)
    outside = ~(columns[:, None, None] & visible).expand_as(icl)
    again = attention_changes(
        zero_shot,
        icl.masked_fill(outside, 1e9),
        finetuned.masked_fill(outside, math.nan),
        columns,
        visible=visible,
    )
    assert torch.equal(first.icl, again.icl) and torch.equal(first.ft, again.ft)


def test_a_change_that_is_only_rounding_is_none_and_is_told() -> None:
    zero_shot, icl, _, columns, _ = made()
    found = attention_changes(zero_shot, icl, zero_shot + 1e-4, columns, floors=Floors(1e-3, 1e-3))
    assert (found.ft == 0).all() and found.ft_is_rounding.all() and not found.icl_is_rounding.any()
    # Of the dtype that scores come in, where no floors are given.
    single = zero_shot.float()
    found = attention_changes(single, icl.float(), single * (1 + 1e-7), columns)
    assert (found.ft == 0).all() and found.ft_is_rounding.all()


def test_a_row_without_columns_is_undefined_and_one_of_one_column_cannot_move() -> None:
    zero_shot, icl, finetuned, columns, _ = made()
    columns[0], columns[1] = False, torch.tensor([True, *[False] * 4])
    found = attention_changes(zero_shot, icl, finetuned, columns)
    assert found.icl[0].isnan().all() and (found.icl[1] == 0).all() and (found.icl[2] > 0).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    zero_shot, icl, finetuned, columns, _ = made()
    with pytest.raises(ValueError, match="expected one shape"):
        attention_changes(zero_shot, icl[..., :4], finetuned, columns)
    with pytest.raises(ValueError, match="finetuned scores holds"):
        attention_changes(zero_shot, icl, finetuned / 0, columns)
    assert attention_changes(zero_shot[:0], icl[:0], finetuned[:0], columns[:0]).ft.shape == (0, 2, 2)
