"""The table of a comparison under controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..analyses.controls.config import CONTROLS
from .comparison_facts import facts_of, warnings_of
from .comparison_rows import row_alarms, row_blocks, row_notes, rows_frame, spread_note
from .comparison_sheet import Sheet
from .comparison_table import sheet_html, sheet_text

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

    Columns: ``control``, ``measure``, ``unit``, ``mean``, ``std``, ``draws``; see `rows_frame`.
    """
    rows = [({"control": control}, study.measures(control)) for control in study.draws]
    return rows_frame(rows, ("control",))


def _sheet(study: ControlsStudy) -> Sheet:
    first, n = next(iter(study.draws)), len(study.config.seeds)
    # What was run is told of the comparison itself, where it is there.
    own = study["none" if "none" in study.draws else first]
    facts = [fact for fact in facts_of(own.config, own.draws) if fact[0] != "finetuning moved"]
    controls = [(control_title(name), _what(study, name)) for name in study.draws]
    warnings = [warning for draws in study.draws.values() for warning in warnings_of(draws)]
    for seed, changed in zip(study.config.seeds, study.labels_changed, strict=False):
        if changed == 0:
            warnings.append(
                f"the demonstrations of seed {seed} all have one label, so permuting labels changes nothing there"
            )
    rows = {control_title(name): draws for name, draws in study.draws.items()}
    return Sheet(
        alarms=row_alarms(rows),
        facts=(*facts, *controls),
        warnings=tuple(dict.fromkeys(warnings)),
        blocks=row_blocks({control_title(name): study.measures(name) for name in study.draws}, n),
        notes=(spread_note(n), *row_notes(rows)),
    )


def _what(study: ControlsStudy, control: str) -> str:
    what = {str(name): text for name, text in CONTROLS.items()}[control]
    if control == "permuted_labels":
        counts = ", ".join(map(str, study.labels_changed))
        return f"{what} ({counts} of {study.config.shots} have another)"
    return f"{what} ({study.other_task})" if control == "other_task" else what
