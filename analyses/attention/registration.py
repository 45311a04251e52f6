"""The analysis of where attention goes: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.study import Study
from .config import AttentionConfig
from .tables import ATTENTION_TABLES

ATTENTION = register(
    Analysis(
        name="attention",
        summary="Show where attention goes: to which parts of a prompt, in which heads, and token by token.",
        config=AttentionConfig,
        measure=f"{__package__}.measurement:measure_attention",
        tables=ATTENTION_TABLES,
        figures="iclprobe.reports.attention:attention_figures",
        sheet="iclprobe.reports.attention:attention_sheet",
    )
)


def attention(config: AttentionConfig | None = None, **options: Any) -> Study:
    """Measure the shares of attention on the parts of in-context prompts, and map one query in several settings.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `AttentionConfig`, such as ``shots=8``, ``query=3`` or ``settings=("zsl", "icl", "ft")``,
            a ``model`` or ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(ATTENTION, config, **options)
