"""A run directory: what a study is on disk, and the study again.

``manifest.json`` marks it as complete and holds the format's version, ``config.yaml`` what was asked, ``tables/``
every table as Parquet with ``columns.json``, ``NAME.csv`` the same for people, ``table.txt`` and ``KIND.png`` what is
seen of it, ``arrays/`` what is heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, shown
from ..json_text import parse_json
from ..settings import make_config
from ..text_files import Unreadable, in_home, read_text
from ..yaml_text import read_yaml
from .analysis import Analysis, find_analysis
from .arrays import FOLDER, ArrayFiles, write_arrays
from .columns import FACTS
from .finding import FINDINGS, findings_frame, findings_of
from .parts import FOLDER as PARTS
from .parts import StudyFolder, study_id
from .plain_values import plain
from .run_directory import MANIFEST, write_manifest
from .study import Study, make_study
from .table_files import read_table, write_table

if TYPE_CHECKING:
    from pydantic import BaseModel

FORMAT = 1
"""The version of what is written here; a reader refuses any other."""
LONGEST_MANIFEST = 100_000_000


def write_study(folder: Path, study: Study) -> None:
    """Write every file of a run directory; the manifest, which marks it complete, comes last.

    Args:
        folder: The run directory, see `run_directory`; arrays may lie there already.
        study: The study.
    """
    from ..reports.style import save_figure

    (folder / "config.yaml").write_text(config_text(study.analysis, study.config), encoding="utf-8")
    for name, frame in study.tables.items():
        write_table(folder, name, frame)
    write_table(folder, FINDINGS.name, findings_frame(study.findings))
    columns = {name: _declared(study.declaration, name) for name in (*study.tables, FINDINGS.name)}
    (folder / "tables" / "columns.json").write_text(_json(columns), encoding="utf-8")
    write_arrays(folder, study.arrays)
    place, ids = _write_parts(folder, study)
    (folder / "table.txt").write_text(study.table() + "\n", encoding="utf-8")
    for kind, figure in study.figures().items():
        save_figure(figure, folder / f"{kind}.png")
    write_manifest(
        folder,
        {
            "format": FORMAT,
            "analysis": study.analysis,
            "provenance": plain(study.provenance),
            **({"parts": {"folder": place, "ids": ids}} if ids else {}),
        },
    )


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
            write_study(folder / PARTS / ids[name], part)
    return PARTS, ids


def config_text(analysis: str, config: BaseModel) -> str:
    """Return a configuration as the YAML that `iclprobe ANALYSIS --config` takes back."""
    import yaml

    values = {"analysis": analysis, **plain(config.model_dump())}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def load_study(path: str | Path) -> Study:
    """Read a run directory back: the study that was saved there, without a model.

    Args:
        path: The run directory.

    Raises:
        UserError: If it is none, is damaged, or was written in another format.
    """
    folder = in_home(path)
    manifest = read_manifest(folder)
    analysis = find_analysis(str(manifest["analysis"]))
    values = read_yaml(folder / "config.yaml", "configuration", "shots: 8")
    values.pop("analysis", None)
    config = make_config(analysis.config, values, shown(folder / "config.yaml"))
    there = folder / "tables" / f"{FACTS.name}.parquet"
    declared = (*analysis.tables, *((FACTS,) if there.is_file() else ()))
    return make_study(
        analysis,
        config,
        {table.name: read_table(folder, table) for table in declared},
        findings_of(read_table(folder, FINDINGS)),
        manifest["provenance"],
        ArrayFiles(folder / FOLDER),
        _parts(folder, manifest.get("parts")),
    )


def _parts(folder: Path, told: Any) -> Mapping[str, Study]:
    if not isinstance(told, dict) or told.get("folder") not in (PARTS, f"../{PARTS}"):
        return {}
    ids = {str(name): Path(str(found)).name for name, found in dict(told.get("ids") or {}).items()}
    return StudyFolder((folder / told["folder"]).resolve(), ids)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished run directory in this format.

    Raises:
        UserError: If there is none, it is damaged, or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{shown(folder)} is no run directory (it has no {MANIFEST}): give one that --out named"
        )
    manifest = _parsed(path)
    if not isinstance(manifest, dict) or manifest.get("complete") is not True:
        raise UserError(f"{shown(path)} is not the manifest of a finished run: run it again")
    found = manifest.get("format")
    if found != FORMAT:
        raise UserError(
            f"{shown(folder)} is in format {shown(found)} and this is a reader of format {FORMAT}: "
            "load it with the iclprobe that wrote it, or run it again"
        )
    if not isinstance(manifest.get("analysis"), str) or not isinstance(manifest.get("provenance"), dict):
        raise UserError(f"{shown(path)} names no analysis or no provenance: run it again")
    return manifest


def _parsed(path: Path) -> Any:
    try:
        return parse_json(read_text(path, LONGEST_MANIFEST))
    except Unreadable as error:
        raise UserError(f"{shown(path)} cannot be read ({error}): run it again") from error


def _declared(analysis: Analysis, name: str) -> dict[str, Any]:
    table = analysis.table(name)
    return {"meaning": table.meaning, "columns": [asdict(column) for column in table.columns]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
