"""What the similarity probes share: checked float64 input, bounded memory, a cosine that can be undefined.

Everything is computed on the CPU in float64, whatever came in: the updates compared here may be a millionth
of the vectors they are the difference of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**17
"""How many float64 numbers (1 MiB, so that several stay in a cache) one operand of a chunk may hold."""


def as_float64(tensor: Tensor) -> Tensor:
    """Return `tensor` detached, on the CPU, in float64."""
    return tensor.detach().cpu().to(torch.float64)


def require_shape(axes: str, **tensors: Tensor) -> None:
    """Raise ValueError unless all tensors have one and the same shape with these axes.

    Args:
        axes: The axes by name, such as ``"N L d"``.
        **tensors: The tensors by argument name.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != len(axes.split()) for shape in shapes.values()):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one shape [{axes.replace(' ', ', ')}] for all, got {listed}")


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError if `tensor` holds NaN or infinity, which would pass for an undefined cosine."""
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite values among {tensor.numel()} compared")


def example_slices(examples: int, elements_per_example: int) -> Iterator[slice]:
    """Yield slices over examples whose chunks hold about `CHUNK_ELEMENTS` numbers, one example at least."""
    step = max(1, CHUNK_ELEMENTS // max(1, elements_per_example))
    for start in range(0, examples, step):
        yield slice(start, min(start + step, examples))


def concatenate_chunks(chunks: Sequence[Tensor], empty_shape: Sequence[int], dim: int = 0) -> Tensor:
    """Join the chunks along `dim`; with none at all, return an empty float64 tensor of the given shape."""
    return torch.cat(list(chunks), dim=dim) if chunks else torch.empty(*empty_shape, dtype=torch.float64)


def unit(vectors: Tensor) -> Tensor:
    """Return h~ = h / ||h||_2 along the last axis; a zero vector stays zero."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(norm > 0, norm, 1.0)


def without_rounding(change: Tensor, floor: float | Tensor) -> Tensor:
    """Return `change` with every vector no longer than `floor` set to exactly zero, so that it has no cosine.

    Args:
        change: Differences `[..., d]` of vectors.
        floor: Broadcastable to `[...]`, see `rounding`.
    """
    lengths = torch.linalg.vector_norm(change, dim=-1, keepdim=True)
    floors = torch.as_tensor(floor, dtype=change.dtype, device=change.device)
    return change.masked_fill(lengths <= floors.unsqueeze(-1), 0.0)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine along the last axis, NaN where either vector is zero (broadcasts)."""
    norms = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    product = (first * second).sum(-1)
    return (product / norms).clamp(-1.0, 1.0)
