"""What became of experiments that were run together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas

Status = Literal["written", "kept", "failed"]


@dataclass(frozen=True)
class IndexRow:
    """One experiment of an index.

    Attributes:
        paper: Which paper; ``both`` for the claims.
        name: Which table or figure.
        title: What it shows.
        kind: The analysis.
        status: Whether it was written now, kept from before, or failed.
        folder: Its folder; empty where it failed.
        note: Why it failed.
    """

    paper: str
    name: str
    title: str
    kind: str
    status: Status
    folder: str
    note: str = ""


@dataclass(frozen=True)
class Index:
    """What was written, kept, and failed.

    Attributes:
        rows: One entry an experiment.
        seconds: How long it took.
    """

    rows: tuple[IndexRow, ...]
    seconds: float

    @property
    def failed(self) -> tuple[IndexRow, ...]:
        """The experiments that could not be run."""
        return tuple(row for row in self.rows if row.status == "failed")

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row an experiment."""
        import pandas

        return pandas.DataFrame(asdict(row) for row in self.rows)

    def table(self) -> str:
        """Return the index as text."""
        from .listing import index_text

        return index_text(self)

    def __str__(self) -> str:
        """Return the index as text."""
        return self.table()
