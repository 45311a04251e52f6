"""The analysis of labels: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...study.analysis import Analysis, register
from ..comparison.tables import tables_with
from .config import LabelsConfig
from .tables import DEMONSTRATION_LABELS, EFFECTS, PAIRS, VARIANT

if TYPE_CHECKING:
    from ...study.study import Study

LABELS = register(
    Analysis(
        name="labels",
        summary="Give the demonstrations other labels: does the model recognise the task, or learn it in context?",
        config=LabelsConfig,
        measure=f"{__package__}.measurement:measure_labels",
        tables=(EFFECTS, PAIRS, DEMONSTRATION_LABELS, *tables_with(VARIANT)),
        figures={"labels": "iclprobe.reports.labels:labels_figure"},
        sheet="iclprobe.reports.labels:labels_sheet",
        check=f"{__package__}.measurement:check_labels",
    )
)


def labels(config: LabelsConfig | None = None, **options: Any) -> Study:
    """Compare in-context learning with finetuning again with random, flipped and abstract labels.

    A model that recognises a task from its inputs answers the same whatever the labels of the demonstrations are; one
    that learns their mapping follows them (Min et al. 2022; Pan et al. 2023).

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `LabelsConfig`, such as ``variants=("gold", "flipped")`` or ``seeds=(0, 1, 2)``, a
            ``model`` or ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(LABELS, config, **options)
