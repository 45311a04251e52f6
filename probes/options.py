"""What a measure can be told: the readings of its definition by name, and the thresholds of the papers."""

from __future__ import annotations

from typing import Literal

ScoreVariant = Literal["raw", "delta", "centered", "softmax"]
"""How rows of attention scores are compared, see `sim_am`."""
Agreement = Literal["same_label", "changed"]
"""What counts as a shared change of prediction, see `prediction_changes`."""
OverlapNorm = Literal["sqrt_k_minus_o", "k_minus_o", "none", "topk_cosine"]
"""Which reading of Shen et al.'s Eq. 6, see `overlap_cosine_similarity`."""
SensitivityAggregate = Literal["sum_std", "sum_var", "mean_std", "l2"]
"""How the spread of the vocabulary's tokens is put together, see `order_sensitivity`."""
GradientParameters = Literal["trained", "layer_all"]
"""Whose gradients a layer's norm is of, see `GradientNormRecorder`."""
GradientReduction = Literal["token_mean", "token_sum"]
"""Of the loss whose gradients they are, see `GradientNormRecorder`."""
THRESHOLDS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The thresholds δ of Shen et al.'s Figures 2 and 10, see `weight_statistics`."""
