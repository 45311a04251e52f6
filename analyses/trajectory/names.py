"""What is measured at every step, and by what steps are matched."""

from __future__ import annotations

from ...study.names import LABEL_KL_FINDING, PARTIAL

ACCURACY, CALIBRATED = "accuracy", "calibrated accuracy"
LABEL_KL = LABEL_KL_FINDING
LIKENESS = ("SimAOU", PARTIAL, "SimAM after finetuning")
"""What tells how like ICL a step is inside."""
SHARED_BASELINE = "SimAOU, null shared_baseline"
UNITS = {
    ACCURACY: "%",
    CALIBRATED: "%",
    LABEL_KL: "nats",
    **dict.fromkeys((*LIKENESS, SHARED_BASELINE), "cosine"),
}
"""Every measure of a step, with what it is in."""
BY_ACCURACY, BY_KL = "accuracy", "label KL"
"""By what finetuning is matched with ICL."""
