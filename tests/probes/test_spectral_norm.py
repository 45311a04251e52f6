"""The largest singular value, against a full decomposition."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.spectral_norm import spectral_norm


@pytest.mark.parametrize("shape", [(40, 700), (300, 500), (700, 320)])
def test_it_equals_the_largest_singular_value(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    want = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert spectral_norm(weight) == pytest.approx(want, rel=1e-5)
    assert spectral_norm(weight) == spectral_norm(weight)


@pytest.mark.parametrize("shape", [(128, 200), (200, 128), (1, 7)])
def test_that_of_a_small_matrix_is_exact(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    want = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert spectral_norm(weight) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_transposes_give_the_same_value(dtype: torch.dtype) -> None:
    # So many entries that the products are made in several blocks.
    weight = torch.randn(900, 1400, generator=torch.Generator().manual_seed(0)).to(dtype)
    want = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert spectral_norm(weight) == pytest.approx(want, rel=1e-5)
    assert spectral_norm(weight.T) == pytest.approx(want, rel=1e-5)


def test_values_close_to_the_largest_slow_the_iteration_and_do_not_stop_it() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(400, 400, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(400, 400, generator=generator))[0]
    values = torch.linspace(1.0, 0.0, 400)
    values[1] = 0.999
    assert spectral_norm(left * values @ right) == pytest.approx(1.0, rel=3e-5)
    assert spectral_norm(torch.eye(400)) == pytest.approx(1.0, rel=1e-6)


def test_a_wider_tolerance_or_fewer_steps_end_below_the_value() -> None:
    weight = torch.randn(300, 500, generator=torch.Generator().manual_seed(0))
    want = float(torch.linalg.matrix_norm(weight.double(), 2))
    for found in (spectral_norm(weight, tolerance=0.1), *(spectral_norm(weight, steps=n) for n in (2, 4))):
        assert 0.5 * want < found < 0.9999 * want
    assert spectral_norm(weight, steps=2) < spectral_norm(weight, steps=4) < spectral_norm(weight, steps=5)


def test_matrices_of_rank_one_and_of_zeros() -> None:
    column, row = torch.arange(1.0, 401.0)[:, None], torch.ones(1, 300)
    assert spectral_norm(column @ row) == pytest.approx(float(column.norm() * row.norm()), rel=1e-5)
    assert spectral_norm(torch.zeros(400, 300)) == 0.0


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_entries_whose_squares_no_fp32_holds(size: float) -> None:
    weight = size * torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
    want = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert spectral_norm(weight) == pytest.approx(want, rel=1e-5)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a matrix"):
        spectral_norm(torch.zeros(3))
