"""The analysis of implicit updates: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.study import Study
from .config import ImplicitUpdateConfig
from .tables import IMPLICIT_UPDATE_TABLES

IMPLICIT_UPDATE = register(
    Analysis(
        name="implicit_update",
        summary="Take ICL for a change of the MLPs' weights: how shared it is, and how alike finetuning's.",
        config=ImplicitUpdateConfig,
        measure=f"{__package__}.measurement:measure_implicit_update",
        tables=IMPLICIT_UPDATE_TABLES,
        figures="iclprobe.reports.implicit_update:implicit_update_figures",
        sheet="iclprobe.reports.implicit_update:implicit_update_sheet",
    )
)


def implicit_update(config: ImplicitUpdateConfig | None = None, **options: Any) -> Study:
    """Take in-context learning for a change of the MLPs' weights (Dherin et al. 2025).

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `ImplicitUpdateConfig`, such as ``shots=8`` or ``recipe="shen"``, a ``model`` or ``task``
            in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If the MLPs are not dense, there are too few queries, or finetuning fails; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(IMPLICIT_UPDATE, config, **options)
