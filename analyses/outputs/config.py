"""What a study of answers, in context and finetuned, does."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from ...probes.options import OverlapNorm
from ...settings import Shots
from ..arms.config import Arms, ArmsConfig, short_arms
from ..configuration import numbers

_PRESETS = ("shen", "shen_deep", "shen_middle")


class OutputsConfig(ArmsConfig):
    """A study of answers, in context and finetuned (Shen et al. 2024, section 5, appendices D to F).

    Finetuning takes all demonstrations that were asked for; where they do not fit the context window, there is no
    in-context learning with that number of them. Shen et al. take 200 epochs evaluated every 20, and learning
    rates of 1e-4, 5e-4, 1e-3 and 5e-3; the default arms have 60 epochs.

    Attributes:
        shots: Numbers of demonstrations.
        top_k: Tokens of each distribution that are compared, K.
        overlap_norm: Which reading of Eq. 6 (R12).
        icl_orders: In how many other orders of the demonstrations ICL is compared with itself.
    """

    analysis: ClassVar[str] = "outputs"

    shots: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        tuple[Shots, ...], BeforeValidator(numbers), Field(min_length=1, max_length=100)
    ] = (1, 2, 4, 8)
    arms: Arms = short_arms(_PRESETS, epochs=60, evaluation_epochs=10)
    top_k: int = Field(default=10, ge=1, le=10_000_000)
    overlap_norm: OverlapNorm = "sqrt_k_minus_o"
    icl_orders: int = Field(default=1, ge=1, le=10_000)
