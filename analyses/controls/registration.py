"""The analysis of controls: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ..comparison.tables import tables_with
from .config import ControlsConfig

if TYPE_CHECKING:
    from .controls import Controls

CONTROL = Column("control", "text", "what was changed about the comparison; none is the comparison itself")
WHAT = Table(
    "controls",
    "one control",
    (
        CONTROL,
        Column("what", "text", "what is different under it"),
        Column("other_task", "text", "the task in the context, where it is another's"),
    ),
)
LABELS_CHANGED = Table(
    "labels_changed",
    "one draw of demonstrations, under permuted_labels",
    (
        Column("seed", "integer", "of the draw of demonstrations"),
        Column("labels_changed", "integer", "demonstrations that have another label than before"),
        Column("demonstrations", "integer", "demonstrations that there are"),
    ),
)

_OF_COMPARISONS = {table.name: table for table in tables_with(CONTROL)}
_FIRST = "over_draws"

CONTROLS = register(
    Analysis(
        name="controls",
        summary="Compare in-context learning with finetuning again where one thing is taken away: what is left?",
        config=ControlsConfig,
        measure=f"{__package__}.measurement:measure_controls",
        tables=(
            _OF_COMPARISONS[_FIRST],
            *(table for name, table in _OF_COMPARISONS.items() if name != _FIRST),
            WHAT,
            LABELS_CHANGED,
        ),
        figures={"controls": "iclprobe.reports.controls:controls_figure"},
        sheet="iclprobe.reports.controls:controls_sheet",
        in_memory=("model", "task", "other_task"),
        study=f"{__package__}.controls:Controls",
        check=f"{__package__}.measurement:check_controls",
    )
)


def controls(config: ControlsConfig | None = None, **options: Any) -> Controls:
    """Compare in-context learning with finetuning as `compare` does, again under each control.

    The controls are those of Bar Natan et al.'s code (``untrained``) and the usual ones of the literature: see
    `iclprobe.analyses.controls.config.CONTROLS`. Captures and finetunings that a control does not change are not run
    again. A learning rate that is chosen is chosen on the comparison itself and kept under every control.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `ControlsConfig`, such as ``controls=("none", "untrained")`` or ``seeds=(0, 1, 2)``, a
            ``model``, ``task`` or ``other_task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return cast("Controls", run_analysis(CONTROLS, config, **options))
