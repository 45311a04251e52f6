"""Differences of two settings, against loops over their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_attention import made_rows

from iclprobe.errors import UserError
from iclprobe.reports.attention_cells import cells_of
from iclprobe.reports.attention_difference import attention_difference
from iclprobe.reports.attention_folding import folded
from iclprobe.reports.attention_rows import AttentionRows, Kind, SpanMark


def settings(
    kind: Kind = "pattern", chat: bool = False
) -> tuple[AttentionRows, AttentionRows, AttentionRows]:
    """Return zero-shot, finetuned and ICL of the same query."""
    zero_shot = made_rows(0, query=5, kind=kind, setting="zero-shot", seed=1, chat=chat)
    finetuned = replace(made_rows(0, query=5, kind=kind, seed=2, chat=chat), setting="finetuned")
    return zero_shot, finetuned, made_rows(3, query=5, kind=kind, setting="ICL", seed=3, chat=chat)


@pytest.mark.parametrize("kind", ["scores", "pattern"])
def test_settings_of_the_same_tokens_are_subtracted_entry_by_entry(kind: Kind) -> None:
    zero_shot, finetuned, _ = settings(kind)
    found = attention_difference(finetuned, zero_shot, "all")
    seen = np.broadcast_to(zero_shot.visible, zero_shot.values.shape)
    assert np.array_equal(found.values[seen], (finetuned.values - zero_shot.values)[seen])
    assert (found.name, found.minus, found.notes) == ("finetuned − zero-shot", "zero-shot", ())
    assert found.column_tokens == zero_shot.column_tokens and found.query_shares == ()


@pytest.mark.parametrize("chat", [False, True])
def test_patterns_over_the_query_are_renormalised_row_by_row(chat: bool) -> None:
    zero_shot, _, icl = settings(chat=chat)
    found = attention_difference(icl, zero_shot)
    count = 8 if chat else 5
    assert found.values.shape[2:] == (count, count)
    for layer in range(2):
        for head in range(3):
            for row in range(count):
                one, other = (
                    [float(share) for share in each.values[layer, head, row - count, -count:]]
                    for each in (icl, zero_shot)
                )
                for column in range(row + 1):
                    expected = one[column] / sum(one) - other[column] / sum(other)
                    assert found.values[layer, head, row, column] == pytest.approx(expected)
    assert found.values.sum(axis=-1) == pytest.approx(0)
    assert found.notes == ("patterns renormalised over the query's tokens",)
    expected = [SpanMark("query", 0, 5)] + [SpanMark("turn tail", 5, 8)] * chat
    assert list(found.row_spans) == list(found.column_spans) == expected


def test_what_icl_left_for_the_demonstrations_is_kept() -> None:
    zero_shot, finetuned, icl = settings()
    (share,) = attention_difference(icl, finetuned).query_shares
    assert share.setting == "ICL"
    for layer in range(2):
        for head in range(3):
            last = icl.values[layer, head, -1]
            assert share.on_demonstrations[layer, head] == pytest.approx(sum(last[1:16]))
            assert share.on_query[layer, head] == pytest.approx(sum(last[16:]))
    (turned,) = attention_difference(zero_shot, icl).query_shares
    assert turned.setting == "ICL"
    selected = attention_difference(icl, finetuned).select([2], [1]).query_shares[0]
    assert selected.on_query.tolist() == [[share.on_query[1, 1]]]


def test_scores_over_the_query_are_subtracted_as_they_are() -> None:
    zero_shot, _, icl = settings("scores")
    found = attention_difference(icl, zero_shot)
    expected = icl.values[..., -5:, -5:] - zero_shot.values[..., -5:, -5:]
    seen = np.broadcast_to(found.visible, found.values.shape)
    assert np.array_equal(found.values[seen], expected[seen])
    assert found.query_shares == () and found.notes == ()


def test_only_what_both_see_is_visible_and_a_row_without_mass_is_undefined() -> None:
    zero_shot, _, icl = settings()
    blind = zero_shot.visible.copy()
    blind[..., -1, -1] = False
    values = icl.values.copy()
    values[0, 0, -2, -5:] = 0
    found = attention_difference(replace(icl, values=values), replace(zero_shot, visible=blind))
    assert not found.visible[..., -1, -1].any() and not found.values[..., -1, -1].any()
    assert found.values[..., -1, :].sum(axis=-1) == pytest.approx(0)
    assert np.isnan(found.drawn()[0, 0, 3]).all() and np.isfinite(found.values[0, 1]).all()


def test_a_folded_difference_is_the_difference_of_folded_settings() -> None:
    zero_shot, finetuned, _ = settings()
    cells = cells_of(zero_shot.row_tokens, zero_shot.row_spans, "tokens", 2)
    found = folded(attention_difference(finetuned, zero_shot, "all"), cells, cells).values
    apart = folded(finetuned, cells, cells).values - folded(zero_shot, cells, cells).values
    assert found == pytest.approx(apart)


def test_what_cannot_be_subtracted_is_refused() -> None:
    zero_shot, finetuned, icl = settings()
    difference = attention_difference(finetuned, zero_shot, "all")
    with pytest.raises(UserError, match="'finetuned − zero-shot' is a difference or folded already"):
        attention_difference(icl, difference)
    with pytest.raises(UserError, match="do not hold the same kind, layers and heads"):
        attention_difference(icl, zero_shot.select([0]))
    with pytest.raises(UserError, match=r"do not hold the same tokens.*over='query'"):
        attention_difference(icl, zero_shot, "all")
    with pytest.raises(UserError, match="'ICL' and 'icl' do not hold the same tokens"):
        attention_difference(icl, made_rows(0, query=7))
    with pytest.raises(UserError, match="'zero-shot' has no rows and columns of a query"):
        attention_difference(icl, replace(zero_shot, row_spans=(), column_spans=()))
    cells = cells_of(icl.row_tokens, icl.row_spans, "parts")
    with pytest.raises(UserError, match="'ICL' is a difference or folded already"):
        attention_difference(folded(icl, cells, cells), zero_shot)
