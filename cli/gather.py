"""`iclprobe gather`: the cells of a sweep put together, beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..analyses.gather.registration import GATHER
from .analysis_command import AnalysisCommand

FOLDER = "gathered"
"""The run directory within the sweep's folder."""


class _Gather(AnalysisCommand):
    """The command, which writes beside the cells, and anew each time."""

    def run(self, **typed: Any) -> None:
        """Put a sweep together."""
        if typed["out"] is None and not typed["as_json"]:
            typed["out"] = str(Path(self.resolved(typed).sweep) / FOLDER)
            typed["overwrite"] = True
        super().run(**typed)


gather = _Gather(GATHER)
for _option in gather.params:
    if isinstance(_option, click.Option) and _option.name == "out":
        _option.help = f"The run directory. [default: SWEEP/{FOLDER}, made anew each time]"
