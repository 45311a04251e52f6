"""The sheet of an experiment of a paper: measured beside published, what stands for what, and footnotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..study.sheet import Block, Cell, Sheet, sheet_of
from .numbers import number

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study


def reproduction_sheet(study: Study) -> Sheet:
    """Return the numbers by row and column; where a row has published numbers, they stand below it.

    Args:
        study: An experiment, run.
    """
    numbers = study.tables["numbers"]
    columns = tuple(dict.fromkeys(numbers["column"]))
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for row, found in numbers.groupby("row", sort=False):
        places = found.set_index("column")
        rows.append((str(row), tuple(_measured(places, column) for column in columns)))
        if found["published"].notna().any():
            rows.append(("  published", tuple(_published(places, column) for column in columns)))
    notes = [f"±: standard deviation over {_spread(study)}"]
    for key, text in study.tables["footnotes"].itertuples(index=False):
        notes.append(f"{key}: {text}" if key == "*" else f"[{key}] {text}")
    return sheet_of(study, (Block("", columns, tuple(rows)),), tuple(notes))


def _measured(places: Frame, column: str) -> Cell:
    if column not in places.index:
        return ("–",)
    entry = places.loc[column]
    value = number(entry["value"], ".4g")
    return (value,) if entry["std"] != entry["std"] else (value, f"± {number(entry['std'], '.2g')}")


def _published(places: Frame, column: str) -> Cell:
    if column not in places.index or places.loc[column, "published"] != places.loc[column, "published"]:
        return ("–",)
    entry = places.loc[column]
    upper = entry["published_high"]
    value = f"{entry['published']:g}" + ("" if upper != upper else f" to {upper:g}")
    return (value if entry["source"] == "text" else f"{value} *",)


def _spread(study: Study) -> str:
    experiment = study.config.experiment
    if experiment.view == "comparison_with_average":
        return "draws of demonstrations, of the average over datasets"
    return {
        "sparsity": "layers",
        "gradients": "demonstrations",
        "order": "draws of demonstrations and drawn layers (Fig. 4: and learning rates)",
        "outputs": "draws of demonstrations and drawn layers",
    }.get(experiment.kind, "draws of demonstrations")
