"""The largest singular value of a matrix that is too large for a decomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from .scratch import scratch
from .weight_entries import largest_entry

# Below this many rows or columns the decomposition is as fast as the iteration.
_SMALL = 128
# Entries of a block, which is read once for its part in both products.
_BLOCK = 1 << 19
_ACCELERATED_BLOCK = 1 << 26
# Steps between two looks at how far the value has come.
_STRIDE = 3


def spectral_norm(weight: Tensor, *, tolerance: float = 1e-5, steps: int = 400) -> float:
    """Return the largest singular value ‖W‖₂.

    Small matrices are decomposed. Large ones go through the Lanczos iteration on WᵀW in fp32 (Golub and Van Loan,
    Matrix Computations, §10.1) from a fixed start, until three steps have made the value grow by no more than
    `tolerance` (relative); it approaches ‖W‖₂ from below. Vectors are not made orthogonal again, which may
    repeat a value that has been found but moves none.

    The relative error is about `tolerance` for matrices of random and of trained weights; where hundreds of singular
    values lie within 1% of the largest it can be twenty times as large.

    Args:
        weight: ``[rows, columns]``, with finite entries.
        tolerance: Relative growth that ends the iteration.
        steps: Steps at most.

    Raises:
        ValueError: If it is no matrix.
    """
    if weight.dim() != 2:
        raise ValueError(f"expected a matrix, got {tuple(weight.shape)}")
    if min(weight.shape) <= _SMALL:
        return _decomposed(weight.double())
    # WᵀW and WWᵀ have the same values: take the one whose blocks of rows lie together.
    matrix = weight if weight.stride(0) >= weight.stride(1) else weight.T
    # Entries are squared twice, so they are measured in the largest of them.
    scale = largest_entry(weight)
    if scale == 0:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator).to(matrix.device)
    vector /= vector.norm()
    before = torch.zeros_like(vector)
    # Of the tridiagonal matrix: the diagonal, and what is beside it.
    diagonal: list[Tensor] = []
    beside: list[Tensor] = [torch.zeros((), device=matrix.device)]
    value = 0.0
    for step in range(1, steps + 1):
        following = _gram_times(matrix, vector, scale).sub_(beside[-1] * before)
        diagonal.append(following @ vector)
        following -= diagonal[-1] * vector
        beside.append(following.norm())
        if step % _STRIDE == 0 or step == steps:
            last, value = value, _largest(diagonal, beside[1:-1])
            if value - last <= 2 * tolerance * value:
                break
        # The space of a matrix of low rank ends: nothing follows.
        before, vector = vector, following / beside[-1].clamp(min=torch.finfo(torch.float32).tiny)
    return scale * value**0.5


def _gram_times(matrix: Tensor, vector: Tensor, scale: float) -> Tensor:
    """Return WᵀWx / scale² in fp32, block by block: half precision is never there in fp32 as a whole."""
    block = _BLOCK if matrix.device.type == "cpu" else _ACCELERATED_BLOCK
    height = min(len(matrix), max(1, block // matrix.shape[1]))
    half = matrix.dtype != torch.float32
    buffer = scratch(height, matrix.shape[1], dtype=torch.float32, device=matrix.device) if half else None
    product = torch.zeros_like(vector)
    for rows in matrix.split(height):
        part = rows if buffer is None else buffer[: len(rows)].copy_(rows)
        product.addmv_(part.T, (part @ vector).div_(scale))
    return product.div_(scale)


def _decomposed(matrix: Tensor) -> float:
    # The Gram matrix squares the condition number, which the largest value does not feel.
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt())


def _largest(diagonal: list[Tensor], beside: list[Tensor]) -> float:
    """Return the largest eigenvalue of a symmetric tridiagonal matrix."""
    tridiagonal = torch.diag(torch.stack(diagonal).double().cpu())
    if beside:
        # The decomposition reads the lower half.
        tridiagonal += torch.diag(torch.stack(beside).double().cpu(), -1)
    return float(torch.linalg.eigvalsh(tridiagonal)[-1])
