"""Akyürek et al.'s matrices: the input as drawn, attention that copies what the positions say, counted zeros."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.akyurek_construction import (
    akyurek_attention,
    akyurek_embedding,
    akyurek_input,
    akyurek_positions,
    akyurek_sparsity,
)


def test_the_input_alternates_inputs_and_targets():
    x, y, query = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([7.0, 8.0]), torch.tensor([5.0, 6.0])
    assert akyurek_input(x, y, query).tolist() == [[0, 7, 0, 8, 0], [1, 0, 3, 0, 5], [2, 0, 4, 0, 6]]
    with pytest.raises(ValueError, match=r"query \[d\], got \(2, 2\), \(2,\) and \(3,\)"):
        akyurek_input(x, y, torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(2, 2\), \(3,\) and \(2,\)"):
        akyurek_input(x, torch.zeros(3), query)
    with pytest.raises(ValueError, match=r"got \(2,\), \(2,\) and \(\)"):
        akyurek_input(x[0], y, query[0])


@pytest.mark.parametrize("first", [None, 5])
def test_attention_copies_from_the_position_that_each_position_names(first):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 2, generator=generator), torch.randn(3, generator=generator)
    columns = akyurek_input(x, y, torch.randn(2, generator=generator))
    positions, width = columns.shape[1], 24
    padded = torch.zeros(width, positions)
    padded[:3] = columns
    sources = torch.tensor([0, 0, 1, 1, 3, 2, 5])
    embedded = akyurek_embedding(2, width) @ padded
    hidden = embedded + akyurek_positions(sources, width, first=first)
    w_k, w_q = akyurek_attention(positions, width, first=first)
    pattern = torch.softmax((w_k @ hidden).T @ (w_q @ hidden), dim=0)
    read = hidden[:3] @ pattern
    torch.testing.assert_close(read, columns[:, sources])


@pytest.mark.parametrize(("d", "p", "width"), [(10, 1, 64), (3, 4, 12), (1, 1, 4)])
def test_the_sparsity_in_closed_form_is_what_counting_finds(d, p, width):
    w_e, (w_k, w_q) = akyurek_embedding(d, width), akyurek_attention(p, width)
    counted = [float((matrix == 0).double().mean()) for matrix in (w_e, w_k, w_q)]
    of_embedding, of_attention = akyurek_sparsity(d, p, width)
    assert counted == pytest.approx([of_embedding, of_attention, of_attention], abs=1e-12)


def test_units_may_begin_with_the_first_and_end_with_the_last_of_the_hidden_state():
    w_k, w_q = akyurek_attention(2, 4, first=0)
    assert w_k.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert w_q.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert akyurek_embedding(3, 4).tolist() == torch.eye(4).tolist()


def test_the_position_that_is_read_has_the_score_that_was_asked_for_and_1000_unasked():
    w_k, w_q = akyurek_attention(2, 4)
    sources = torch.tensor([1, 0])
    unasked, asked = akyurek_positions(sources, 4), akyurek_positions(sources, 4, sharpness=7.0)
    for positions, score in ((unasked, 1000.0), (asked, 7.0)):
        assert ((w_k @ positions).T @ (w_q @ positions)).tolist() == [[0, score], [score, 0]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="x of 0 entries and y do not fit"):
        akyurek_embedding(0, 4)
    for units, first in ((0, 1), (1, -1), (2, None)):
        with pytest.raises(ValueError, match=f"2 · {units} units .* into a width of 3"):
            akyurek_attention(units, 3, first=first)
    with pytest.raises(ValueError, match=r"2 · 4 units .* into a width of 6"):
        akyurek_positions(torch.tensor([0, 1, 2, 3]), 6)
    with pytest.raises(ValueError, match=r"positions 0\.\.1, got \[0, -1\]"):
        akyurek_positions(torch.tensor([0, -1]), 8)
    with pytest.raises(ValueError, match="x of 4 entries and y do not fit into a width of 4"):
        akyurek_embedding(4, 4)
    with pytest.raises(ValueError, match="units from unit 3 on do not fit into a width of 6"):
        akyurek_attention(2, 6, first=3)
    with pytest.raises(ValueError, match=r"positions 0\.\.1, got \[0, 2\]"):
        akyurek_positions(torch.tensor([0, 2]), 8)
