"""Tables on disk: Parquet, which gives back what was written, and CSV beside it for people.

CSV alone cannot tell the text "NA" from a missing one, nor an integer beside a gap from a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, reason_of, shown
from .columns import Table

if TYPE_CHECKING:
    from pandas import DataFrame


def write_table(folder: Path, name: str, frame: DataFrame) -> None:
    """Write ``tables/NAME.parquet`` and ``NAME.csv`` into a folder.

    Args:
        folder: The run directory.
        name: The table's name.
        frame: Its rows.
    """
    place = folder / "tables"
    place.mkdir(exist_ok=True)
    with (place / f"{name}.parquet").open("wb") as file:
        frame.to_parquet(file, engine="pyarrow", index=False)
    frame.to_csv(folder / f"{name}.csv", index=False)


def read_table(folder: Path, table: Table) -> DataFrame:
    """Read a table back, as it was written.

    Args:
        folder: The run directory.
        table: What is declared of it.

    Raises:
        UserError: If it is not there, damaged, or has other columns.
    """
    import pandas

    path = folder / "tables" / f"{table.name}.parquet"
    try:
        with path.open("rb") as file:
            frame = pandas.read_parquet(file, engine="pyarrow")
        return table.frame(frame)
    except FileNotFoundError as error:
        raise UserError(
            f"{shown(path)} is not there: copy the whole run directory, or run it again"
        ) from error
    except Exception as error:
        # pyarrow raises errors of many classes of its own.
        raise UserError(f"{shown(path)} cannot be read ({reason_of(error)}): run it again") from error
