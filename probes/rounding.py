"""Which differences are only rounding: they have no direction, so their cosine is undefined.

A difference of two vectors that a model computed holds the rounding of both. Where the two are the same but for
rounding, nothing else is left of it, and its cosine with anything is a number made of noise. So a difference no
longer than a floor counts as zero. The floor belongs to the dtype that was *computed* in, which that of the recorded
tensors need not be, and to where the tokens stand: rotary angles grow with the position and are rounded to 24 bits
(transformers makes them in fp32 whatever the model's dtype), so the same tokens at later positions give other scores.

Measured where demonstrations change nothing but rounding (scores of layer 0, and its attention outputs where a
sliding window ends before the demonstrations) in pocket, SmolLM2 135M, Gemma 3 270M and tiny models of 22 rotary
families, on a CPU. The largest change, in units of machine epsilon and relative to the size of what changed (for
scores the root mean square of the head's scores):

| | other batches | at 32 | at 1,000 | at 8,000 later positions |
|---|---|---|---|---|
| scores, fp32 | 6 | 9 | 111 | 1,200 |
| scores, bf16 | 0 | 3 | 3 | 3 |
| outputs, fp32 | 3 | 9 | 197 | 662 |
| outputs, bf16 | 0 | 4 | 4 | 5 |

Deeper layers add up to 56 (fp32) and 7 (bf16) epsilon in other batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import hold_tensors

Floor = float | Tensor
"""A length up to which a change is only rounding: one for all, or one for each layer (and head)."""

# Of the dtype's epsilon: what is rounded when a vector is stored, and what was rounded on the way to it.
_STORED = 6.0
# Of the epsilon that sums are accumulated in: other batches add up in another order, layer after layer.
_ACCUMULATED = 64.0
# Of fp32's epsilon, for each position: three times the largest that was measured.
_ROTATED = 0.5


@dataclass(frozen=True)
class Floors:
    """Up to which length a change from zero-shot is only rounding.

    Attributes:
        icl: The change that demonstrations made, which also move the query to later positions.
        ft: The change that finetuning made.
    """

    icl: Floor
    ft: Floor

    def __post_init__(self) -> None:
        """Take arrays of any tool."""
        hold_tensors(
            self, *(name for name in ("icl", "ft") if not isinstance(getattr(self, name), float | int))
        )

    @classmethod
    def of(cls, dtype: torch.dtype, offset: int = 0) -> Floors:
        """Return the floors, relative to what changed, of a model that computes in a dtype.

        Args:
            dtype: What the model computes in.
            offset: See `rounding_floor`; finetuning moves no token.
        """
        return cls(rounding_floor(dtype, offset), rounding_floor(dtype))


def rounding_floor(dtype: torch.dtype, offset: int = 0) -> float:
    """Return how long a difference may be by rounding alone, relative to the vectors that were subtracted.

    Args:
        dtype: What they were computed in.
        offset: The last position of the two settings, where tokens stand at other positions in one than in the
            other; 0 where they stand at the same.

    Raises:
        ValueError: If `dtype` is no floating point dtype, or `offset` is negative.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"rounding belongs to a floating point dtype, got {dtype}")
    if offset < 0:
        raise ValueError(f"offset counts positions, got {offset}")
    single, own = (torch.finfo(each).eps for each in (torch.float32, dtype))
    return _STORED * own + _ACCUMULATED * min(own, single) + _ROTATED * single * offset


def stored_rounding(dtype: torch.dtype) -> float:
    """Return how long the difference of two weight matrices may be by being stored alone, relative to them.

    Each entry is stored within half a step of itself, and a step is at most one epsilon of it, so two matrices that
    were the same before they were stored differ by no more than one epsilon.

    Args:
        dtype: What the weights are stored in.
    """
    return torch.finfo(dtype).eps
