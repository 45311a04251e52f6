"""What the similarity probes share: checked input, chunks, unit vectors, and cosines that can be undefined."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.probes.vectors import (
    CHUNK_ELEMENTS,
    as_float64,
    concatenate_chunks,
    cosine,
    example_slices,
    require_finite,
    require_shape,
    unit,
    without_rounding,
)


def test_numbers_come_detached_and_in_float64() -> None:
    tensor = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    copy = as_float64(tensor)
    assert copy.dtype == torch.float64 and not copy.requires_grad


def test_shapes_must_be_one_and_have_the_axes_named() -> None:
    require_shape("N L d", first=torch.zeros(2, 3, 4), second=torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"one shape \[N, L\] for all, got first \(2, 3\), second \(2, 4\)"):
        require_shape("N L", first=torch.zeros(2, 3), second=torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[N, L, d\] for all, got first \(2, 3\)"):
        require_shape("N L d", first=torch.zeros(2, 3), second=torch.zeros(2, 3))


def test_what_is_not_finite_is_counted() -> None:
    require_finite("outputs", torch.ones(3))
    with pytest.raises(ValueError, match="outputs holds 2 NaN or infinite values among 3"):
        require_finite("outputs", torch.tensor([math.nan, 1.0, -math.inf]))


def test_slices_cover_every_example_once_whatever_their_size() -> None:
    for examples, elements in ((0, 5), (1, 10**9), (7, 2**18), (7, 2**20), (5, 0), (9, 300_000)):
        slices = list(example_slices(examples, elements))
        assert [i for rows in slices for i in range(rows.start, rows.stop)] == list(range(examples))
        assert all(
            rows.stop - rows.start == 1 or (rows.stop - rows.start) * elements <= CHUNK_ELEMENTS
            for rows in slices
        )
        # No more slices than the memory asks for: each has its own overhead.
        assert len(slices) <= max(1, math.ceil(examples / max(1, CHUNK_ELEMENTS // max(1, elements))))


def test_chunks_are_joined_along_an_axis_and_none_is_an_empty_result() -> None:
    chunks = [torch.zeros(2, 3), torch.ones(2, 3)]
    assert concatenate_chunks(chunks, (0, 3)).shape == (4, 3)
    assert concatenate_chunks(chunks, (2, 0), dim=1).shape == (2, 6)
    empty = concatenate_chunks([], (4, 0, 3), dim=1)
    assert empty.shape == (4, 0, 3) and empty.dtype == torch.float64


def test_a_unit_vector_has_length_one_along_the_last_axis_and_zero_stays_zero() -> None:
    vectors = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1e-20, 0.0], [0.0, 0.5]]], dtype=torch.float64)
    expected = [[[0.6, 0.8], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    torch.testing.assert_close(unit(vectors), torch.tensor(expected, dtype=torch.float64))


def test_a_change_as_long_as_its_floor_is_rounding_and_a_longer_one_is_not() -> None:
    change = torch.tensor([[3.0, 4.0], [3.0, 4.1], [0.0, 0.0]])
    assert without_rounding(change, 5.0).tolist() == [[0.0, 0.0], pytest.approx([3.0, 4.1]), [0.0, 0.0]]
    each = without_rounding(change, torch.tensor([4.0, 6.0, 0.0]))
    assert each.tolist() == [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_floor_is_as_exact_as_the_change() -> None:
    change = torch.tensor([[0.1 + 1e-10, 0.0], [0.1, 0.0]], dtype=torch.float64)
    assert without_rounding(change, 0.1).count_nonzero(-1).tolist() == [1, 0]


def test_a_cosine_is_taken_along_the_last_axis_and_undefined_with_a_zero_vector() -> None:
    first = torch.tensor([[3.0, 4.0], [1e-9, 0.0], [0.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[4.0, 3.0], [-2.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert cosine(first, second).tolist() == pytest.approx([24 / 25, -1.0, math.nan], nan_ok=True)
    assert cosine(second, first).isnan().tolist() == [False, False, True]


def test_a_cosine_never_leaves_its_range() -> None:
    vectors = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    assert cosine(vectors, vectors).max() <= 1.0 and cosine(vectors, -vectors).min() >= -1.0
    assert cosine(vectors, vectors).min() > 0.999
