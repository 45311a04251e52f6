"""What an analysis of weights leaves in its run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..study.plain_values import plain
from ..study.run_directory import write_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from pydantic import BaseModel


def write_study(
    folder: Path,
    *,
    config: BaseModel,
    results: Mapping[str, Any],
    table: str,
    frames: Mapping[str, DataFrame],
    figures: Mapping[str, Figure],
    provenance: Mapping[str, Any],
) -> None:
    """Write every file of a run directory; the manifest, which marks it complete, comes last.

    Args:
        folder: The run directory, see `run_directory`.
        config: What was asked, resolved: ``config.yaml``.
        results: Every number: ``results.json``.
        table: What the terminal shows: ``table.txt``.
        frames: Name to data frame: ``NAME.csv``.
        figures: Name to figure: ``NAME.png``.
        provenance: Where the results came from: ``manifest.json``.
    """
    import yaml

    from ..reports.style import save_figure

    settings = yaml.safe_dump(plain(config.model_dump()), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    text = json.dumps(plain(results), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "table.txt").write_text(table + "\n", encoding="utf-8")
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    write_manifest(folder, plain(provenance))
