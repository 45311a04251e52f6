"""The analysis of transfer: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.study import Study
from .config import TransferConfig
from .tables import TRANSFER_TABLES

TRANSFER_ANALYSIS = register(
    Analysis(
        name="transfer",
        summary="Give the updates of ICL and finetuning to the zero-shot run, and see what the answers become.",
        config=TransferConfig,
        measure=f"{__package__}.measurement:measure_transfer",
        tables=TRANSFER_TABLES,
        figures="iclprobe.reports.transfer_figures:transfer_figures",
        sheet="iclprobe.reports.transfer:transfer_sheet",
        estimate=f"{__package__}.estimate:transfer_needs",
        check=f"{__package__}.places:check_transfer",
    )
)


def transfer(config: TransferConfig | None = None, **options: Any) -> Study:
    """Give the updates of ICL and finetuning, their parts and their nulls to the zero-shot run (R22).

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `TransferConfig`, such as ``shots=16``, ``recipes=("dai", "shen")`` or ``alphas=(0, 1)``, a
            ``model`` or ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(TRANSFER_ANALYSIS, config, **options)
