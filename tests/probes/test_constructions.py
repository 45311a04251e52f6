"""The hand-made weights do what their papers say: one gradient-descent step by autograd, zeros by counting."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.constructions import constructed_sparsity, von_oswald_construction

SIZES = [(10, 1, 10), (3, 2, 5), (1, 1, 1), (2, 4, 7)]


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_step(x: torch.Tensor, y: torch.Tensor, start: torch.Tensor, eta: float) -> torch.Tensor:
    """One step on the in-context regression loss, whose gradient autograd finds."""
    weights = start.clone().requires_grad_()
    loss = sum(((weights @ x_j - y_j) ** 2).sum() for x_j, y_j in zip(x, y, strict=True)) / (2 * len(x))
    loss.backward()  # type: ignore[union-attr]
    assert weights.grad is not None
    return start - eta * weights.grad


@pytest.mark.parametrize("projection", ["code", "paper"])
@pytest.mark.parametrize(("n_x", "n_y", "n"), SIZES)
def test_the_layer_predicts_as_one_step_of_gradient_descent(n_x, n_y, n, projection):
    x, y, queries = drawn(n, n_x, seed=1), drawn(n, n_y, seed=2), drawn(4, n_x, seed=3)
    start, eta = drawn(n_y, n_x, seed=4), 0.37
    layer = von_oswald_construction(
        n_x, n_y, step_size=eta, demonstrations=n, start=start, projection=projection
    )
    stepped = gradient_step(x, y, start, eta)
    torch.testing.assert_close(layer.predict(x, y, queries, start), queries @ stepped.mT)
    tokens = torch.cat([queries, -queries @ start.mT], 1)
    updated = layer.update(torch.cat([x, y], 1), tokens)
    assert torch.equal(updated[:, :n_x], queries)


def test_the_matrices_are_those_of_the_slides():
    start = torch.tensor([[5.0, 6.0]])
    layer = von_oswald_construction(2, 1, step_size=0.5, demonstrations=2, start=start)
    assert layer.w_k.tolist() == layer.w_q.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert layer.w_v.tolist() == [[0, 0, 0], [0, 0, 0], [5, 6, -1]]
    assert layer.projection.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0.25]]
    paper = von_oswald_construction(2, 1, step_size=0.5, demonstrations=2, projection="paper")
    assert paper.projection.tolist() == [[0.25, 0, 0], [0, 0.25, 0], [0, 0, 0.25]]
    assert paper.w_v.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, -1]]


@pytest.mark.parametrize("projection", ["code", "paper"])
@pytest.mark.parametrize("dense_start", [True, False])
@pytest.mark.parametrize(("n_x", "n_y", "n"), SIZES)
def test_the_sparsity_in_closed_form_is_what_counting_finds(n_x, n_y, n, dense_start, projection):
    start = torch.full((n_y, n_x), 2.0) if dense_start else None
    layer = von_oswald_construction(
        n_x, n_y, step_size=0.1, demonstrations=n, start=start, projection=projection
    )
    sparsity = constructed_sparsity(n_x + n_y, n_y, dense_start=dense_start, projection=projection)
    matrices = {"query": layer.w_q, "key": layer.w_k, "value": layer.w_v, "projection": layer.projection}
    counted = {name: float((matrix == 0).double().mean()) for name, matrix in matrices.items()}
    assert sparsity == pytest.approx(counted, abs=1e-12)


def test_the_sparsity_at_llamas_width_is_the_papers():
    sparsity = constructed_sparsity(4096)
    assert [f"{sparsity[name]:.2%}" for name in ("query", "key")] == ["99.99%", "99.99%"]
    assert f"{sparsity['value']:.0%}" == "75%"
    assert sparsity == constructed_sparsity(4096, 2048)


def test_without_demonstrations_there_is_no_construction():
    with pytest.raises(ValueError, match="divides by the number of demonstrations: it is not defined for 0"):
        von_oswald_construction(10, 1, step_size=1.0, demonstrations=0)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        von_oswald_construction(0, 1, step_size=1.0, demonstrations=1)
    with pytest.raises(ValueError, match=r"\[1, 2\], got \(2, 1\)"):
        von_oswald_construction(2, 1, step_size=1.0, demonstrations=1, start=torch.zeros(2, 1))
    with pytest.raises(ValueError, match="at least 1, got 4 and 0"):
        constructed_sparsity(4, 0)
    with pytest.raises(ValueError, match="unknown projection 'slides'"):
        constructed_sparsity(4, projection="slides")  # type: ignore[arg-type]


def test_a_construction_from_zero_has_the_dtype_asked_for():
    for dtype in (torch.float32, torch.float64):
        layer = von_oswald_construction(2, 1, step_size=0.1, demonstrations=3, dtype=dtype)
        assert {m.dtype for m in (layer.w_k, layer.w_q, layer.w_v, layer.projection)} == {dtype}
