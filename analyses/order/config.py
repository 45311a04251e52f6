"""What a study of order sensitivity does."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ...probes.options import SensitivityAggregate
from ..arms.config import Arms, ArmsConfig, BatchSizes, short_arms

_PRESETS = ("shen", "shen_sgd", "shen_adam", "shen_deep", "shen_middle")


class OrderConfig(ArmsConfig):
    """A study of order sensitivity (Shen et al. 2024, section 4 and appendix A; R13).

    Shen et al. take 8 demonstrations, 10 orders, 200 epochs evaluated every 20, and learning rates of 1e-5, 5e-5,
    1e-4 and 5e-4. The default arms have 8 epochs, because every one is finetuned once for each order.

    Attributes:
        orders: Different orders of the demonstrations, R; all of them where there are no more.
        aggregate: How the spread of the vocabulary's tokens is put together: ``sum_std`` adds standard deviations
            up, ``sum_var`` variances (the paper's text says both), ``mean_std``, ``l2``.
        ddof: 0 for the population's standard deviation, 1 for the sample's.
        top_k: Only the K tokens most probable on average; None is the whole vocabulary.
    """

    analysis: ClassVar[str] = "order"

    arms: Arms = short_arms(_PRESETS, epochs=8, evaluation_epochs=2)
    batch_sizes: BatchSizes = (1, 2, 4)
    orders: int = Field(default=10, ge=2, le=10_000)
    aggregate: SensitivityAggregate = "sum_std"
    ddof: Literal[0, 1] = 0
    top_k: int | None = Field(default=None, ge=1, le=10_000_000)
