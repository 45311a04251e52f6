"""What the measures of a comparison are called, in tables, figures and findings."""

from __future__ import annotations

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
