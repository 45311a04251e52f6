"""Where finetuning wrote: how far each attention projection moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...models.delta import Delta
from ...models.loading import LanguageModel
from ...models.matrices import Matrix
from ...models.weights import attention_projections
from ...probes import Drift, weight_drift

MATRICES: tuple[Matrix, ...] = ("query", "key", "value", "output")


@dataclass(frozen=True)
class FinetuningDrift:
    """How far finetuning moved one matrix of one layer.

    Attributes:
        layer: Counted from 0.
        matrix: Which of W_Q, W_K, W_V and W_O.
        drift: From the pretrained to the finetuned weights.
    """

    layer: int
    matrix: Matrix
    drift: Drift


def finetuning_drift(
    model: LanguageModel, delta: Delta, matrices: Sequence[Matrix] = MATRICES
) -> tuple[FinetuningDrift, ...]:
    """Measure what finetuning changed, in the numbers of `drift`, so that both can be laid side by side.

    Args:
        model: The pretrained model; it is left as it is.
        delta: What finetuning changed.
        matrices: Which of W_Q, W_K, W_V and W_O.

    Returns:
        One entry a layer and matrix; matrices that finetuning left alone have a drift of exactly 0.
    """
    # Finetuning changes few tensors, and a delta holds the new ones in memory already: so do two copies.
    before = _weights(model, matrices)
    with delta.applied(model):
        after = _weights(model, matrices)
    return tuple(
        FinetuningDrift(layer, matrix, weight_drift(weight, after[layer, matrix]))
        for (layer, matrix), weight in before.items()
    )


def _weights(model: LanguageModel, matrices: Sequence[Matrix]) -> dict[tuple[int, Matrix], Tensor]:
    """Return the attention projections in main memory."""
    return {
        (projection.layer, projection.matrix): projection.weight.detach().to("cpu")
        for projection in attention_projections(model.module, matrices=tuple(matrices))
    }
