"""A study: named tidy tables, findings, a resolved configuration and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from ..settings import Settings
from .analysis import Analysis, find_analysis, there
from .arrays import Arrays
from .columns import Frame
from .figure_kinds import FigureKinds, NoSuchFigure, draw_figure
from .finding import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from .sheet import Sheet


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """What an analysis leaves. Everything shown of it is a function of its tables, so it needs no model.

    Attributes:
        analysis: The analysis's name.
        config: What was asked, resolved.
        tables: Every table by its name, of the columns that the analysis declares.
        findings: What was found and how sure it is, alarms first.
        provenance: Versions, machine, hashes, duration.
        arrays: What is heavy, read when it is asked for.
        parts: The studies that it is made of, by name, if it is made of any.
    """

    analysis: str
    config: Any
    tables: Mapping[str, Frame]
    findings: tuple[Finding, ...]
    provenance: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)
    parts: Mapping[str, Study] = field(default_factory=dict)

    @property
    def declaration(self) -> Analysis:
        """The analysis that it is of."""
        return find_analysis(self.analysis)

    def to_pandas(self, table: str | None = None) -> DataFrame:
        """Return one table, a copy.

        Args:
            table: Its name; None is the analysis's first.

        Raises:
            KeyError: If there is none; it names those there are.
        """
        name = next(iter(self.tables)) if table is None else table
        if name not in self.tables:
            raise KeyError(f"no table {name!r}: there are {', '.join(self.tables)}")
        return self.tables[name].copy()

    def sheet(self) -> Sheet:
        """Return what is to be read of it, before it is laid out."""
        from .sheet import plain_sheet

        lay_out = there(self.declaration.sheet)
        return plain_sheet(self) if lay_out is None else lay_out(self)

    def table(self, width: int = 100) -> str:
        """Return what is to be read of it as text.

        Args:
            width: Where lines are wrapped; columns of numbers take what they need.
        """
        from ..reports.sheet_text import sheet_text

        return sheet_text(self.sheet(), width=width)

    @overload
    def plot(self, kind: Literal["?"], *, width: float | None = None) -> FigureKinds: ...  # pyright: ignore[reportOverlappingOverload]

    @overload
    def plot(self, kind: str | None = None, *, width: float | None = None) -> Figure: ...

    def plot(self, kind: str | None = None, *, width: float | None = None) -> Figure | FigureKinds:
        """Draw one picture; or say with ``?`` which there are, a line each.

        Args:
            kind: Which; None is the analysis's first.
            width: In inches: a paper's column has 3.3, two have 6.9. None is the picture's own width.

        Raises:
            NoSuchFigure: If there is none; it says which there are.
            UserError: If it cannot be drawn at that width.
        """
        drawers = self.drawers()
        if kind == "?":
            return FigureKinds(drawers)
        if not drawers or (kind is not None and kind not in drawers):
            raise NoSuchFigure(kind, self.analysis, FigureKinds(drawers))
        return draw_figure(drawers[next(iter(drawers)) if kind is None else kind], self, width)

    def figures(self) -> dict[str, Figure]:
        """Draw every picture, by its kind."""
        return {kind: draw_figure(draw, self, None) for kind, draw in self.drawers().items()}

    def drawers(self) -> Mapping[str, Any]:
        """Return what draws each picture, or its place, by its kind."""
        figures = self.declaration.figures
        return figures if isinstance(figures, Mapping) else there(figures)(self)

    def save(self, path: str | Path, *, overwrite: bool = False, page: bool = True) -> Path:
        """Write a run directory, whole or not at all, which `load_study` reads.

        Args:
            path: The run directory to be.
            overwrite: Replace a finished run directory.
            page: Whether it gets its page, ``page.html``, too.

        Raises:
            UserError: If it may not be replaced or cannot be written.
        """
        from .run_directory import run_directory
        from .study_files import write_study

        with run_directory(path, overwrite=overwrite) as folder:
            write_study(folder, self, page=page)
        return Path(path)

    def page(self) -> str:
        """Return all of it as one HTML file that fetches nothing, see `iclprobe.reports.page`."""
        from ..reports.page.page import page_html

        return page_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return all of it but arrays as strict JSON holds it: NaN is null, an infinite number a text."""
        from .json_values import study_values

        return study_values(self)

    def __str__(self) -> str:
        """Return what is to be read of it as text."""
        return self.table()

    def __repr__(self) -> str:
        """Return in one line what it is."""
        rows = ", ".join(f"{name} ({len(frame)} rows)" for name, frame in self.tables.items())
        alarms = sum(finding.kind == "alarm" for finding in self.findings)
        told = f"{len(self.findings)} findings" + (f", {alarms} of them alarms" if alarms else "")
        return f"<{type(self).__name__} {self.analysis}: {rows}; {told}>"

    def _repr_html_(self) -> str:
        from ..reports.sheet_html import sheet_html

        return sheet_html(self.sheet())


def make_study(
    analysis: Analysis,
    config: Settings,
    tables: Mapping[str, Any],
    findings: tuple[Finding, ...],
    provenance: Mapping[str, Any],
    arrays: Arrays | None = None,
    parts: Mapping[str, Study] | None = None,
) -> Study:
    """Return a study whose tables have the columns that its analysis declares.

    Args:
        analysis: The analysis.
        config: What was asked, resolved.
        tables: Rows of each declared table by its name; ``facts`` may be among them.
        findings: What was found, in any order.
        provenance: Where it came from.
        arrays: What is heavy.
        parts: The studies that it is made of.

    Raises:
        ValueError: If a declared table or column is missing, or one is not declared.
    """
    from .finding import in_order

    lacking = [table.name for table in analysis.tables if table.name not in tables]
    if lacking:
        raise ValueError(f"{analysis.name} made no table {', '.join(lacking)}")
    order = [*(table.name for table in analysis.tables), *(name for name in tables if name == "facts")]
    unknown = [name for name in tables if name not in order]
    if unknown:
        raise ValueError(f"{analysis.name} declares no table {', '.join(unknown)}")
    frames = {name: analysis.table(name).frame(tables[name]) for name in order}
    kind: type[Study] = there(analysis.study)
    return kind(analysis.name, config, frames, in_order(findings), provenance, arrays or {}, parts or {})
