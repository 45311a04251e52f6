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


_OUT = click.Option(
    ["--out"], metavar="FOLDER", help=f"The run directory. [default: SWEEP/{FOLDER}, made anew each time]"
)

gather = _Gather(GATHER)
# Options that are asked of every analysis are shared by their commands.
gather.params = [_OUT if option.name == "out" else option for option in gather.params]
