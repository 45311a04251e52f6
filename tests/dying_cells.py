"""An analysis one of whose cells kills its process; whoever should know it imports this module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import iclprobe


class DyingConfig(iclprobe.SubjectConfig):
    """Which cell it is, and which dies.

    Attributes:
        number: This cell.
        dies: The cell that kills its process.
    """

    number: int = 0
    dies: int = -1


def measure(config: DyingConfig, context: Any) -> iclprobe.Measured:
    # A file that a configuration names would be hashed, and may not change.
    with Path(os.environ["DYING_CELLS_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{config.number}\n")
    if config.number == config.dies:
        os._exit(9)
    return iclprobe.Measured(config, {"numbers": [{"number": config.number}]})


NUMBER = iclprobe.Column("number", "integer", "the cell")
DYING = iclprobe.register(
    iclprobe.Analysis(
        "dying",
        "Die, or not.",
        DyingConfig,
        measure,
        (iclprobe.Table("numbers", "one cell", (NUMBER,)),),
    )
)
