"""Running a task zero-shot, in context and finetuned on the same demonstrations, and measuring the three."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...study.finding import Finding
from ...study.run_directory import free_run_name
from ..configuration import CellConfig
from ..context import Context, Measured
from .cells import cells_of, recipes_of
from .config import CompareConfig
from .draw import Draw
from .facts import facts_of, facts_of_several
from .findings import comparison_findings, draw_warnings
from .finetuned_models import is_series
from .imitations import imitation_findings
from .kept import Kept
from .kept_tables import KEPT_TABLES
from .measures import Intervals
from .rows import comparison_rows, joined_rows
from .run import run_comparisons
from .series import series_findings, series_rows
from .series_table import SERIES


def measure_compare(config: CompareConfig, context: Context) -> Measured:
    """Compare in-context learning with finetuning for every recipe, or finetuned model, and number of shots.

    Every comparison is what it is alone, but the zero-shot setting runs once, and in-context learning once for each
    draw of demonstrations.

    Args:
        config: What is asked.
        context: The model and the task, and the run directory for captures.

    Raises:
        UserError: If something asked for cannot be done.
    """
    cells = cells_of(config)
    run = run_comparisons(config, list(cells.values()), context, _folders(config, context.folder, cells))
    compared = list(zip(cells, run.configs, run.draws, strict=True))
    return measured_of(config, compared, {"self_check": dict(run.self_check)}, run.kept)


def measured_of(
    config: CompareConfig,
    compared: Sequence[tuple[tuple[str, int], CellConfig, Sequence[Draw]]],
    provenance: Mapping[str, Any],
    kept: Kept | None = None,
) -> Measured:
    """Return what draws leave: tables, facts and findings.

    Args:
        config: What is asked.
        compared: The name of what is finetuned and the number of shots of each comparison, its configuration and
            its draws.
        provenance: What else is told of where they came from.
        kept: The attention that is kept to be looked at.
    """
    intervals = Intervals(config.resamples, config.level)
    parts, findings, captures = [], list[Finding](), dict[str, Any]()
    to_look_at: dict[str, list[dict[str, Any]]] = {table.name: [] for table in KEPT_TABLES}
    for place, ((recipe, shots), cell, draws) in enumerate(compared):
        key = {"recipe": recipe, "shots": shots}
        rows = comparison_rows(draws, key, config.agreement, intervals, facts_of(cell, draws))
        parts.append(rows)
        findings += comparison_findings(rows, key, intervals, only=len(compared) == 1)
        findings += draw_warnings(draws, key)
        for name, found in ({} if kept is None else kept.table_rows(place, shots)).items():
            to_look_at[name] += [{**key, **row} for row in found]
        captures[f"{recipe}, {shots} shots"] = {str(draw.seed): dict(draw.manifest) for draw in draws}
    tables = joined_rows(parts)
    models = {recipe: cell.finetuned for (recipe, _), cell, _ in compared if cell.finetuned is not None}
    series = SERIES.frame([])
    if is_series(tuple(models.values())):
        series = series_rows(tables, {name: one.step for name, one in models.items()}, intervals)
    if len(compared) == 1:
        facts = facts_of(*compared[0][1:])
    else:
        facts = facts_of_several(
            [(recipe, cell, draws) for (recipe, _), cell, draws in compared], len(series) > 0
        )
    loaded = ("model", "task", "chat_template")
    named = config.model_copy(
        update={
            "recipes": tuple(recipes_of(config.recipes).values()),
            "finetuned": tuple(models.values()),
            "steps": None,
            "revision_template": None,
            **{name: getattr(compared[0][1], name) for name in loaded},
        }
    )
    return Measured(
        named,
        {
            **tables,
            "series": series,
            **to_look_at,
            "facts": [{"name": name, "text": text} for name, text in facts],
        },
        (
            *series_findings(series, intervals),
            *imitation_findings(tables, {} if models else recipes_of(config.recipes), intervals),
            *findings,
        ),
        {} if kept is None else kept.arrays,
        provenance={
            **provenance,
            "captures": captures,
            "finetuned": [one.place for one in models.values()],
            "score_space": config.plan.score_space,
        },
    )


def _folders(
    config: CompareConfig, folder: Path | None, cells: Iterable[tuple[str, int]]
) -> list[Path | None]:
    """Return where each comparison keeps its captures: in the run directory, or in a folder of its own there."""
    cells = list(cells)
    if folder is None or len(cells) == 1 or not config.save_captures:
        return [folder] * len(cells)
    folders: list[Path | None] = []
    for recipe, shots in cells:
        own = folder / free_run_name(f"{shots}shots", recipe, parent=folder)
        own.mkdir()
        folders.append(own)
    return folders
