"""Measures: tensors in, frozen results out. They import nothing but torch, einops and numpy.

Anyone can use them on activations recorded by any other tool. The names load on first use, so that naming an option
of a measure costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention_mass import AttentionShares, attention_shares, preference
    from .attention_nulls import sim_aou_null
    from .attention_outputs import SimAOU, attention_output_update, sim_aou
    from .attention_scores import SimAM, score_floors, sim_am
    from .constructions import constructed_sparsity, von_oswald_construction
    from .demonstration_order import OrderMoments, order_sensitivity
    from .direct_and_inherited import (
        PartShares,
        PartSimilarity,
        SplitOutputs,
        UpdatePart,
        part_shares,
        part_similarity,
    )
    from .distributions import TopTokens, overlap_cosine_similarity, token_overlap, top_tokens
    from .drift import Drift, pairwise_mean_absolute, update_cosine, weight_drift
    from .gradients import GradientNormRecorder, GradientNorms, LayerParameters
    from .implicit_update import (
        ImplicitUpdates,
        UpdateAlignment,
        implicit_updates,
        update_alignment,
    )
    from .noise import below_noise, noise_floor, score_noise_floor
    from .null_similarity import NullKind, NullSimilarity
    from .options import (
        THRESHOLDS,
        Agreement,
        GradientParameters,
        GradientReduction,
        OverlapNorm,
        ScoreVariant,
        SensitivityAggregate,
    )
    from .other_queries import permuted_pairs, shared_baseline
    from .partial_outputs import partial_permuted_pairs, partial_sim_aou, partial_similarity
    from .predictions import (
        Jaccard,
        PredictionChanges,
        changed_predictions,
        jaccard,
        prediction_changes,
        rec2ftp,
    )
    from .ratios import (
        Ratio,
    )
    from .right_answers import (
        accuracy,
        calibrated_accuracy,
        calibrated_prediction,
        correct_over_labels,
        correct_over_vocabulary,
    )
    from .rounding import Floor, Floors, rounding_floor, stored_rounding
    from .score_nulls import delta_shared_baseline
    from .shared_maps import SharedUpdate, shared_update
    from .similarity_means import NullMeans, SimAMMeans
    from .statistics import (
        Interval,
        MeanAndStd,
        bootstrap_mean,
        bootstrap_ratio,
        derangement,
        mean_and_std,
        mean_over_layers,
    )
    from .total_variation import AttentionChanges, attention_changes
    from .transfer import (
        TransferOutcomes,
        centred_labels,
        closed,
        label_divergence,
        transfer_outcomes,
        vocabulary_divergence,
    )
    from .update_parts import along, gaussian_of_length, halves, means_of_halves
    from .weights import WeightStatistics, fraction_below, weight_statistics

_PLACES = {
    "Agreement": "options",
    "AttentionChanges": "total_variation",
    "AttentionShares": "attention_mass",
    "Drift": "drift",
    "Floor": "rounding",
    "Floors": "rounding",
    "GradientNormRecorder": "gradients",
    "GradientNorms": "gradients",
    "GradientParameters": "options",
    "GradientReduction": "options",
    "ImplicitUpdates": "implicit_update",
    "Interval": "statistics",
    "Jaccard": "predictions",
    "LayerParameters": "gradients",
    "MeanAndStd": "statistics",
    "NullKind": "null_similarity",
    "NullMeans": "similarity_means",
    "NullSimilarity": "null_similarity",
    "OrderMoments": "demonstration_order",
    "OverlapNorm": "options",
    "PartShares": "direct_and_inherited",
    "PartSimilarity": "direct_and_inherited",
    "PredictionChanges": "predictions",
    "Ratio": "ratios",
    "ScoreVariant": "options",
    "SensitivityAggregate": "options",
    "SharedUpdate": "shared_maps",
    "SimAM": "attention_scores",
    "SimAMMeans": "similarity_means",
    "SimAOU": "attention_outputs",
    "SplitOutputs": "direct_and_inherited",
    "THRESHOLDS": "options",
    "TopTokens": "distributions",
    "TransferOutcomes": "transfer",
    "UpdateAlignment": "implicit_update",
    "UpdatePart": "direct_and_inherited",
    "WeightStatistics": "weights",
    "accuracy": "right_answers",
    "along": "update_parts",
    "attention_changes": "total_variation",
    "attention_output_update": "attention_outputs",
    "attention_shares": "attention_mass",
    "below_noise": "noise",
    "bootstrap_mean": "statistics",
    "bootstrap_ratio": "statistics",
    "calibrated_accuracy": "right_answers",
    "calibrated_prediction": "right_answers",
    "centred_labels": "transfer",
    "changed_predictions": "predictions",
    "closed": "transfer",
    "constructed_sparsity": "constructions",
    "correct_over_labels": "right_answers",
    "correct_over_vocabulary": "right_answers",
    "delta_shared_baseline": "score_nulls",
    "derangement": "statistics",
    "fraction_below": "weights",
    "gaussian_of_length": "update_parts",
    "halves": "update_parts",
    "implicit_updates": "implicit_update",
    "jaccard": "predictions",
    "label_divergence": "transfer",
    "mean_and_std": "statistics",
    "mean_over_layers": "statistics",
    "means_of_halves": "update_parts",
    "noise_floor": "noise",
    "order_sensitivity": "demonstration_order",
    "overlap_cosine_similarity": "distributions",
    "pairwise_mean_absolute": "drift",
    "part_shares": "direct_and_inherited",
    "part_similarity": "direct_and_inherited",
    "partial_permuted_pairs": "partial_outputs",
    "partial_sim_aou": "partial_outputs",
    "partial_similarity": "partial_outputs",
    "permuted_pairs": "other_queries",
    "prediction_changes": "predictions",
    "preference": "attention_mass",
    "rec2ftp": "predictions",
    "rounding_floor": "rounding",
    "score_floors": "attention_scores",
    "score_noise_floor": "noise",
    "shared_baseline": "other_queries",
    "shared_update": "shared_maps",
    "sim_am": "attention_scores",
    "sim_aou": "attention_outputs",
    "sim_aou_null": "attention_nulls",
    "stored_rounding": "rounding",
    "token_overlap": "distributions",
    "top_tokens": "distributions",
    "transfer_outcomes": "transfer",
    "update_alignment": "implicit_update",
    "update_cosine": "drift",
    "vocabulary_divergence": "transfer",
    "von_oswald_construction": "constructions",
    "weight_drift": "drift",
    "weight_statistics": "weights",
}

__all__ = [
    "THRESHOLDS",
    "Agreement",
    "AttentionChanges",
    "AttentionShares",
    "Drift",
    "Floor",
    "Floors",
    "GradientNormRecorder",
    "GradientNorms",
    "GradientParameters",
    "GradientReduction",
    "ImplicitUpdates",
    "Interval",
    "Jaccard",
    "LayerParameters",
    "MeanAndStd",
    "NullKind",
    "NullMeans",
    "NullSimilarity",
    "OrderMoments",
    "OverlapNorm",
    "PartShares",
    "PartSimilarity",
    "PredictionChanges",
    "Ratio",
    "ScoreVariant",
    "SensitivityAggregate",
    "SharedUpdate",
    "SimAM",
    "SimAMMeans",
    "SimAOU",
    "SplitOutputs",
    "TopTokens",
    "TransferOutcomes",
    "UpdateAlignment",
    "UpdatePart",
    "WeightStatistics",
    "accuracy",
    "along",
    "attention_changes",
    "attention_output_update",
    "attention_shares",
    "below_noise",
    "bootstrap_mean",
    "bootstrap_ratio",
    "calibrated_accuracy",
    "calibrated_prediction",
    "centred_labels",
    "changed_predictions",
    "closed",
    "constructed_sparsity",
    "correct_over_labels",
    "correct_over_vocabulary",
    "delta_shared_baseline",
    "derangement",
    "fraction_below",
    "gaussian_of_length",
    "halves",
    "implicit_updates",
    "jaccard",
    "label_divergence",
    "mean_and_std",
    "mean_over_layers",
    "means_of_halves",
    "noise_floor",
    "order_sensitivity",
    "overlap_cosine_similarity",
    "pairwise_mean_absolute",
    "part_shares",
    "part_similarity",
    "partial_permuted_pairs",
    "partial_sim_aou",
    "partial_similarity",
    "permuted_pairs",
    "prediction_changes",
    "preference",
    "rec2ftp",
    "rounding_floor",
    "score_floors",
    "score_noise_floor",
    "shared_baseline",
    "shared_update",
    "sim_am",
    "sim_aou",
    "sim_aou_null",
    "stored_rounding",
    "token_overlap",
    "top_tokens",
    "transfer_outcomes",
    "update_alignment",
    "update_cosine",
    "vocabulary_divergence",
    "von_oswald_construction",
    "weight_drift",
    "weight_statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
