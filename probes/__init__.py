"""Measures: tensors in, frozen results out. They import nothing but torch, einops and numpy.

Anyone can use them on activations recorded by any other tool.
"""

from .attention_nulls import sim_aou_null
from .attention_outputs import SimAOU, attention_output_update, sim_aou
from .attention_scores import ScoreVariant, SimAM, score_floors, sim_am
from .constructions import constructed_sparsity, von_oswald_construction
from .distributions import (
    OverlapNorm,
    TopTokens,
    overlap_cosine_similarity,
    token_overlap,
    top_tokens,
)
from .drift import Drift, pairwise_mean_absolute, update_cosine, weight_drift
from .gradients import (
    GradientNormRecorder,
    GradientNorms,
    GradientParameters,
    GradientReduction,
    LayerParameters,
)
from .noise import below_noise, noise_floor, score_noise_floor
from .null_similarity import NullKind, NullSimilarity
from .order_sensitivity import OrderMoments, SensitivityAggregate, order_sensitivity
from .other_queries import permuted_pairs, shared_baseline
from .partial_outputs import partial_permuted_pairs, partial_sim_aou
from .predictions import (
    Agreement,
    Jaccard,
    PredictionChanges,
    Ratio,
    accuracy,
    calibrated_accuracy,
    calibrated_prediction,
    changed_predictions,
    correct_over_labels,
    correct_over_vocabulary,
    jaccard,
    prediction_changes,
    rec2ftp,
)
from .rounding import Floor, Floors, rounding_floor, stored_rounding
from .score_nulls import delta_shared_baseline
from .statistics import (
    Interval,
    MeanAndStd,
    bootstrap_mean,
    bootstrap_ratio,
    derangement,
    mean_and_std,
    mean_over_layers,
)
from .weights import THRESHOLDS, WeightStatistics, fraction_below, weight_statistics

__all__ = [
    "THRESHOLDS",
    "Agreement",
    "Drift",
    "Floor",
    "Floors",
    "GradientNormRecorder",
    "GradientNorms",
    "GradientParameters",
    "GradientReduction",
    "Interval",
    "Jaccard",
    "LayerParameters",
    "MeanAndStd",
    "NullKind",
    "NullSimilarity",
    "OrderMoments",
    "OverlapNorm",
    "PredictionChanges",
    "Ratio",
    "ScoreVariant",
    "SensitivityAggregate",
    "SimAM",
    "SimAOU",
    "TopTokens",
    "WeightStatistics",
    "accuracy",
    "attention_output_update",
    "below_noise",
    "bootstrap_mean",
    "bootstrap_ratio",
    "calibrated_accuracy",
    "calibrated_prediction",
    "changed_predictions",
    "constructed_sparsity",
    "correct_over_labels",
    "correct_over_vocabulary",
    "delta_shared_baseline",
    "derangement",
    "fraction_below",
    "jaccard",
    "mean_and_std",
    "mean_over_layers",
    "noise_floor",
    "order_sensitivity",
    "overlap_cosine_similarity",
    "pairwise_mean_absolute",
    "partial_permuted_pairs",
    "partial_sim_aou",
    "permuted_pairs",
    "prediction_changes",
    "rec2ftp",
    "rounding_floor",
    "score_floors",
    "score_noise_floor",
    "shared_baseline",
    "sim_am",
    "sim_aou",
    "sim_aou_null",
    "stored_rounding",
    "token_overlap",
    "top_tokens",
    "update_cosine",
    "von_oswald_construction",
    "weight_drift",
    "weight_statistics",
]
