"""The analysis of comparisons: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ...study.analysis import Analysis, register
from ...study.columns import Column
from .config import CompareConfig
from .kept_tables import KEPT_TABLES
from .series_table import SERIES
from .tables import COMPARISON_TABLES, tables_with

if TYPE_CHECKING:
    from .comparison import Comparison

_REPORTS = "iclprobe.reports"

COMPARE = register(
    Analysis(
        name="compare",
        summary="Run a task zero-shot, in context and finetuned on the same demonstrations, and compare the three.",
        config=CompareConfig,
        measure=f"{__package__}.measurement:measure_compare",
        tables=(
            *tables_with(
                Column("recipe", "text", "the recipe's name, or what somebody else finetuned"),
                Column("shots", "integer", "demonstrations asked for"),
                tables=(*COMPARISON_TABLES, *KEPT_TABLES),
            ),
            SERIES,
        ),
        figures={
            "layer_profile": f"{_REPORTS}.comparison_figures:layer_profile_of",
            "heads": f"{_REPORTS}.comparison_figures:heads_of",
            "finetuning_drift": f"{_REPORTS}.finetuning_drift_figure:finetuning_drift_of",
            "series": f"{_REPORTS}.series_figure:series_of",
            "grid": f"{_REPORTS}.grid_figure:grid_of",
        },
        sheet=f"{_REPORTS}.comparison:comparison_sheet",
        study=f"{__package__}.comparison:Comparison",
        estimate=f"{__package__}.needed:compare_needs",
        check=f"{__package__}.cells:check_comparison",
    )
)


def compare(config: CompareConfig | None = None, **options: Any) -> Comparison:
    """Run a task zero-shot, in context and finetuned on the same demonstrations, and compare the three.

    Args:
        config: Everything about the comparison; or give its fields as keywords.
        options: Fields of `CompareConfig`, such as ``shots=(1, 2, 4)`` or ``recipes=("dai", "barnatan_lcft")`` or
            ``finetuned=("out/sft", "out/dpo")``, a ``model`` or ``task`` in memory, and ``out``, ``overwrite`` and
            ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return cast("Comparison", run_analysis(COMPARE, config, **options))
