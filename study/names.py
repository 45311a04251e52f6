"""What measures, matrices, settings and ways of learning are called, in tables, figures and findings alike."""

from __future__ import annotations

from collections.abc import Mapping

NULLS = ("gaussian", "permuted_pairs", "shared_baseline")
"""The nulls of SimAOU."""
PARTIAL, PARTIAL_NULL = "SimAOU partial", "SimAOU partial, null permuted_pairs"
DELTA, DELTA_NULL = "SimAM of the changes (delta)", "SimAM of the changes (delta), null shared_baseline"
ICL_NORM, FT_NORM = "norm of the ICL update", "norm of the finetuning update"
SETTING_NAMES = {"zsl": "zero-shot", "icl": "ICL", "ft": "finetuned"}

NO_CHANGE, NO_LEARNING, LOSS_ROSE = (
    "no prediction changed by finetuning",
    "ICL not better than zero-shot",
    "training loss rose",
)
"""What the alarms are called."""

LABEL_KL_FINDING, WAY_FINDING = "label KL from ICL", "{measure}, way from distill_icl to match_icl"
"""What findings beside recipes that imitate ICL are called."""

MATRIX_NAMES: Mapping[str, str] = {"query": "W_Q", "key": "W_K", "value": "W_V", "output": "W_O"}

ICL, ZERO_SHOT, GD = "ICL", "zero-shot", "GD"

ARM_NAMES: Mapping[str, str] = {
    "shen": "GD",
    "shen_sgd": "SGD",
    "shen_adam": "Adam",
    "shen_deep": "GD, deep layer",
    "shen_middle": "GD, middle layer",
    "barnatan_lcft": "layer-causal",
}
"""What presets are called; another one keeps its name."""


OWN_ICL, MEAN_ICL, PERMUTED_ICL, GAUSSIAN_ICL = (
    "own ICL",
    "mean ICL",
    "permuted ICL",
    "Gaussian, norm of ICL",
)
OWN_FT, MEAN_FT, GAUSSIAN_FT = "own FT", "mean FT", "Gaussian, norm of FT"
ALONG, REMAINDER, GAUSSIAN_ALONG = "ICL along FT", "remainder", "Gaussian, norm of ICL along FT"
NO_UPDATE, FINETUNED_MODEL = "nothing", "finetuned model"
"""Updates that are given to the zero-shot run; and what needs none of them."""
UPDATE_NULLS = (PERMUTED_ICL, GAUSSIAN_ICL, GAUSSIAN_FT, GAUSSIAN_ALONG)
ALL_ATTENTION, RESIDUAL_STREAM, ONE_ATTENTION = "all attention outputs", "residual stream", "attention output"
MODEL_ITSELF = "model itself"
"""Where they are given; the model itself is given none."""


def null_name(kind: str) -> str:
    """Return what figures call a null, such as ``permuted_pairs``."""
    return f"null: {kind.replace('_', ' ')}"
