"""A study again, from its run directory and without a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from ..json_text import parse_json
from ..settings import make_config
from ..text_files import Unreadable, in_home, read_text
from ..yaml_text import read_yaml
from .analysis import find_analysis
from .arrays import FOLDER, ArrayFiles
from .columns import FACTS
from .finding import FINDINGS, findings_of
from .parts import FOLDER as PARTS
from .parts import StudyFolder
from .run_directory import MANIFEST
from .study import Study, make_study
from .study_files import FORMAT
from .table_files import read_table

LONGEST_MANIFEST = 100_000_000


def load_study(path: str | Path) -> Study:
    """Read a run directory back: the study that was saved there, without a model.

    Args:
        path: The run directory.

    Raises:
        UserError: If it is none, is damaged, was written in another format, or is of an analysis that is not
            registered: one of your own is, once its module is imported.
    """
    folder = in_home(path)
    manifest = read_manifest(folder)
    analysis = find_analysis(str(manifest["analysis"]))
    values = read_yaml(folder / "config.yaml", "configuration", "shots: 8")
    values.pop("analysis", None)
    config = make_config(analysis.config, values, shown(folder / "config.yaml"), finished=True)
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
    return StudyFolder((folder / told["folder"]).resolve(), ids, load_study)


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
