"""What a study of outputs found: accuracy and agreement with ICL of every arm, and where there was no ICL."""

from __future__ import annotations

from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import ICL
from ...study.series import series_of
from ..arms.rows import diverged_warnings, series_finding, what_varies

_MEASURES = (
    ("accuracy_vocabulary", "accuracy over the vocabulary", "%", 100.0),
    ("accuracy_labels", "accuracy", "%", 100.0),
    ("token_overlap", "token overlap with ICL", "", 1.0),
    ("ocs", "OCS with ICL", "", 1.0),
)


def outputs_findings(rows: Frame) -> tuple[Finding, ...]:
    """Return every measure of every arm and learning rate after the last epoch, and what there is not.

    Args:
        rows: One row a model, number of shots, draw, arm, drawn layer, learning rate and epoch.
    """
    several = what_varies(rows)
    found = [
        series_finding(entry, several, name, unit, scale)
        for measure, name, unit, scale in _MEASURES
        for entry in series_of(rows, measure)
    ]
    return (*found, *_icl_warnings(rows), *diverged_warnings(series_of(rows, "accuracy_vocabulary")))


def shots_without_icl(rows: Frame) -> tuple[tuple[str, int], ...]:
    """Return models and numbers of shots whose demonstrations do not fit the context window on some draw.

    Args:
        rows: Rows of a study.
    """
    draws = ["model", "shots", "seed"]
    plain = rows[draws].astype(object)
    shown = set(plain[rows["arm"] == ICL].itertuples(index=False, name=None))
    asked = plain.itertuples(index=False, name=None)
    return tuple(dict.fromkeys(key[:2] for key in asked if key not in shown))


def _icl_warnings(rows: Frame) -> tuple[Finding, ...]:
    icl = rows[rows["arm"] == ICL]
    told = []
    for model, shots in shots_without_icl(rows):
        words = f"{shots} demonstration{'s' * (shots != 1)}"
        told.append(
            f"ICL with {words} only on the draws that fit the context window of {model}"
            if ((icl["model"] == model) & (icl["shots"] == shots)).any()
            else f"no ICL with {words}: they do not fit the context window of {model}"
        )
    if icl["token_overlap"].isna().any():
        told.append("a single demonstration has no other order to compare ICL with")
    return tuple(Finding("ICL", line, "warning") for line in told)
