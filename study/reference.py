"""The page of all tables, from their declarations: ``python -m iclprobe.study.reference > docs/tables.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .analysis import Analysis, Needs, registered_analyses
from .columns import FACTS, Table
from .finding import FINDINGS

_NEEDED: Mapping[Needs, str] = {
    "model and task": "a model and a task",
    "models and task": "models, one after another, and a task",
    "checkpoints": "checkpoints, of which no model is made",
    "nothing": "what it makes itself, or finds on the disk",
}


def tables_page() -> str:
    """Return the page: every table of every analysis, with what each column is, its unit and its source."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Tables"
    yield ""
    yield "What every study holds, by analysis; a run directory has each as `tables/NAME.parquet` and as CSV."
    yield "An *integer* may be missing; a *number* that is undefined is NaN. This page is made of the declarations."
    yield ""
    yield "## Every analysis"
    yield from _table(FACTS)
    yield from _table(FINDINGS)
    for analysis in registered_analyses().values():
        yield from _analysis(analysis)


def _analysis(analysis: Analysis) -> Iterator[str]:
    yield ""
    yield f"## {analysis.name}"
    yield ""
    yield f"{analysis.summary} It runs on {_NEEDED[analysis.needs]}."
    for table in analysis.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield ""
    yield f"### `{table.name}`: {table.meaning}"
    yield ""
    yield "| column | kind | unit | what it is | source |"
    yield "|---|---|---|---|---|"
    for column in table.columns:
        cells = (f"`{column.name}`", column.kind, column.unit, column.meaning, column.source)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(tables_page(), end="")
