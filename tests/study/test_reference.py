"""The page of tables says what the declarations say."""

from __future__ import annotations

from pathlib import Path

import iclprobe
from iclprobe.study.analysis import registered_analyses
from iclprobe.study.reference import tables_page


def test_the_page_of_tables_is_made_of_the_declarations() -> None:
    page = tables_page()
    made = "make it with python -m iclprobe.study.reference > docs/tables.md"
    assert (Path(iclprobe.__file__).parent / "docs" / "tables.md").read_text(encoding="utf-8") == page, made
    for analysis in registered_analyses().values():
        assert f"## {analysis.name}\n" in page and analysis.tables
