"""The table of a comparison under controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..analyses.comparison.facts import facts_of
from ..analyses.comparison.findings import comparison_findings, draw_warnings
from ..analyses.comparison.measures import Intervals
from ..analyses.comparison.rows import comparison_rows, joined_rows
from ..analyses.controls.config import CONTROLS
from ..study.sheet import Sheet
from .comparison_rows import row_alarms, row_blocks, row_notes, spread_note
from .sheet_html import sheet_html
from .sheet_text import sheet_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..analyses.controls.study import ControlsStudy


def control_title(control: str) -> str:
    """Return a control's name as a table and a figure show it."""
    return control.replace("_", " ")


def controls_text(study: ControlsStudy, *, width: int = 88) -> str:
    """Return the table as plain text, without a newline at the end.

    Args:
        study: The study.
        width: Where sentences are wrapped; the columns of numbers take what they need.
    """
    return sheet_text(_sheet(study), width=width)


def controls_html(study: ControlsStudy) -> str:
    """Return the table as HTML for a notebook; every text is escaped."""
    return sheet_html(_sheet(study))


def controls_frame(study: ControlsStudy) -> DataFrame:
    """Return one row per control and measure.

    Columns: ``control``, ``measure``, ``unit``, ``mean``, ``std``, ``draws``.
    """
    return joined_rows([_rows(study, control) for control in study.draws])["over_draws"]


def _rows(study: ControlsStudy, control: str) -> dict[str, Any]:
    intervals = Intervals(study.config.resamples, study.config.level)
    draws = next(found for name, found in study.draws.items() if name == control)
    return comparison_rows(draws, {"control": control}, study.config.agreement, intervals, ())


def _sheet(study: ControlsStudy) -> Sheet:
    first, n = next(iter(study.draws)), len(study.config.seeds)
    # What was run is told of the comparison itself, where it is there.
    own = study.draws["none" if "none" in study.draws else first]
    one = study.config.comparison(recipe=study.config.recipe)
    facts = [fact for fact in facts_of(one, own) if fact[0] != "finetuning moved"]
    controls = [(control_title(name), _what(study, name)) for name in study.draws]
    rows = {name: _rows(study, name) for name in study.draws}
    intervals = Intervals(study.config.resamples, study.config.level)
    findings = [
        finding
        for name, found in rows.items()
        for finding in comparison_findings(found, {"control": name}, intervals, only=False)
    ]
    warnings = [warning.sentence for draws in study.draws.values() for warning in draw_warnings(draws, {})]
    for seed, changed in zip(study.config.seeds, study.labels_changed, strict=False):
        if changed == 0:
            warnings.append(
                f"the demonstrations of seed {seed} all have one label, so permuting labels changes nothing there"
            )
    return Sheet(
        alarms=row_alarms(findings, lambda where: control_title(where["control"]), n),
        facts=(*facts, *controls),
        warnings=tuple(dict.fromkeys(warnings)),
        blocks=row_blocks({control_title(name): found["over_draws"] for name, found in rows.items()}, n),
        notes=(spread_note(n), *row_notes(joined_rows(rows.values())["layers"])),
    )


def _what(study: ControlsStudy, control: str) -> str:
    what = {str(name): text for name, text in CONTROLS.items()}[control]
    if control == "permuted_labels":
        counts = ", ".join(map(str, study.labels_changed))
        return f"{what} ({counts} of {study.config.shots} have another)"
    return f"{what} ({study.other_task})" if control == "other_task" else what
