"""The analysis of direct and inherited parts: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.study import Study
from .config import PartsConfig
from .tables import PARTS_TABLES

PARTS = register(
    Analysis(
        name="parts",
        summary="Divide what ICL and finetuning change in a layer's attention into a direct and an inherited part.",
        config=PartsConfig,
        measure=f"{__package__}.measurement:measure_parts",
        tables=PARTS_TABLES,
        figures={
            "parts": "iclprobe.reports.parts:parts_figure",
            "contributions": "iclprobe.reports.parts:contributions_figure",
        },
        sheet="iclprobe.reports.parts:parts_sheet",
    )
)


def parts(config: PartsConfig | None = None, **options: Any) -> Study:
    """Divide both updates of every layer's attention output into a direct and an inherited part (R23).

    Direct is what a layer changes itself: because it sees the demonstrations, or because its weights were finetuned.
    Inherited is what its input brings.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `PartsConfig`, such as ``shots=8`` or ``recipe="shen"``, a ``model`` or ``task`` in memory,
            and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If the layers' inputs cannot be replaced, or finetuning fails; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(PARTS, config, **options)
