"""A random update as large as what finetuning changed: what of a change is its direction, and what its size."""

from __future__ import annotations

import torch
from torch import Tensor

from ..seeds import derive_seed
from .delta import Delta
from .exclusive_use import exclusive
from .loading import LanguageModel


def random_update(model: LanguageModel, delta: Delta, seed: int) -> Delta:
    """Return a delta that changes the same entries of the same tensors, each tensor by as much, at random.

    Every tensor becomes the model's own plus a Gaussian change with the norm of finetuning's change of that tensor.
    Entries that finetuning left as they were, such as the rows of W_Q in a fused weight, stay so. In half precision
    the change is rounded like any other.

    Args:
        model: The model that the delta was made from, as it was before.
        delta: What finetuning changed.
        seed: Seed of the changes; the same on every device.
    """
    with exclusive(model.module, "drawing a random update"):
        return Delta(
            {
                name: _changed_at_random(
                    model.module.get_parameter(name).detach(),
                    tensor,
                    derive_seed("random update", seed, name),
                )
                for name, tensor in delta.tensors.items()
            }
        )


def _changed_at_random(original: Tensor, finetuned: Tensor, seed: int) -> Tensor:
    # Neither in half precision, where a sum of squares is lost, nor in place, for these are the model's.
    precise = torch.promote_types(original.dtype, torch.float32)
    change = finetuned.to(original.device, precise) - original.to(precise)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(original.shape, generator=generator).to(original.device, precise)
    noise = torch.where(change == 0, 0.0, noise)
    norm = torch.linalg.vector_norm(noise, dtype=torch.float64)
    scale = torch.linalg.vector_norm(change, dtype=torch.float64) / norm if norm > 0 else norm
    return (original.to(precise) + noise * scale.to(precise)).to(original.dtype)
