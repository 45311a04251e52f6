"""A run directory: what a study is on disk.

``manifest.json`` marks it as complete and holds the format's version, ``config.yaml`` what was asked, ``tables/``
every table as Parquet with ``columns.json``, ``NAME.csv`` the same for people, ``table.txt`` and ``KIND.png`` what is
seen of it, ``page.html`` all of that in one file, ``arrays/`` what is heavy.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .analysis import Analysis
from .arrays import write_arrays
from .config_text import config_text
from .finding import FINDINGS, findings_frame
from .parts import FOLDER as PARTS
from .parts import StudyFolder, study_id
from .plain_values import plain
from .run_directory import write_manifest
from .table_files import write_table

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .study import Study

FORMAT = 1
"""The version of what is written here; a reader refuses any other."""


def write_study(folder: Path, study: Study, *, page: bool = True, pictures: bool = True) -> None:
    """Write every file of a run directory; the manifest, which marks it complete, comes last.

    Args:
        folder: The run directory, see `run_directory`; arrays may lie there already.
        study: The study.
        page: Whether it gets its page, too.
        pictures: Whether it gets its pictures. Studies that others are made of, and cells of a sweep, get neither:
            nobody opens hundreds of them, and each is drawn from its tables when it is asked for.
    """
    from ..reports.page.page import write_page

    (folder / "config.yaml").write_text(config_text(study.analysis, study.config), encoding="utf-8")
    for name, frame in study.tables.items():
        write_table(folder, name, frame)
    write_table(folder, FINDINGS.name, findings_frame(study.findings))
    columns = {name: _declared(study.declaration, name) for name in (*study.tables, FINDINGS.name)}
    (folder / "tables" / "columns.json").write_text(_json(columns), encoding="utf-8")
    write_arrays(folder, study.arrays)
    place, ids = _write_parts(folder, study)
    (folder / "table.txt").write_text(study.table() + "\n", encoding="utf-8")
    vectors = _write_pictures(folder, study, page) if pictures else {}
    if page:
        write_page(folder, study, vectors)
    write_manifest(
        folder,
        {
            "format": FORMAT,
            "analysis": study.analysis,
            "asked": _asked(study.config),
            "provenance": plain(study.provenance),
            **({"parts": {"folder": place, "ids": ids}} if ids else {}),
        },
    )


def _write_pictures(folder: Path, study: Study, page: bool) -> dict[str, bytes]:
    """Write a picture of each kind, and return those that a page holds, as SVG."""
    from ..reports.page.page import PICTURE_DOTS_PER_INCH
    from ..reports.style import pictures_bytes

    vectors: dict[str, bytes] = {}
    for kind, figure in study.figures().items():
        made = pictures_bytes(figure, ("png", "svg") if page else ("png",), PICTURE_DOTS_PER_INCH)
        (folder / f"{kind}.png").write_bytes(made["png"])
        vectors |= {kind: made["svg"]} if page else {}
    return vectors


def _write_parts(folder: Path, study: Study) -> tuple[str, dict[str, str]]:
    """Write the studies that a study is made of; return where they lie, from its run directory, and their ids.

    Those that lie in a run directory beside its own already are left there, to be shared.
    """
    parts = study.parts
    if isinstance(parts, StudyFolder) and parts.folder == folder.absolute().parent / PARTS:
        return f"../{PARTS}", parts.ids
    ids: dict[str, str] = {}
    for name, part in parts.items():
        ids[name] = (
            parts.ids[name] if isinstance(parts, StudyFolder) else study_id(part.analysis, part.config)
        )
        if not (folder / PARTS / ids[name]).exists():
            (folder / PARTS / ids[name]).mkdir(parents=True)
            write_study(folder / PARTS / ids[name], part, page=False, pictures=False)
    return PARTS, ids


def _asked(config: BaseModel) -> dict[str, str]:
    """Return what an index of runs tells of a configuration."""
    values = plain(config.model_dump())
    return {name: values[name] for name in ("model", "task") if isinstance(values.get(name), str)}


def _declared(analysis: Analysis, name: str) -> dict[str, Any]:
    table = analysis.table(name)
    return {"meaning": table.meaning, "columns": [asdict(column) for column in table.columns]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
