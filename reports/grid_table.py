"""The table of comparisons for several numbers of shots and several recipes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..analyses.comparison.draw import Draw
from ..models.recipe import load_recipe
from .comparison_facts import facts_of, warnings_of
from .comparison_rows import row_alarms, row_blocks, row_notes, rows_frame, spread_note
from .comparison_sheet import Block, Sheet
from .comparison_table import sheet_html, sheet_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..analyses.comparison.grid import ComparisonGrid


def grid_text(grid: ComparisonGrid, *, width: int = 88) -> str:
    """Return the table as plain text, without a newline at the end.

    Args:
        grid: The comparisons.
        width: Where sentences are wrapped; the columns of numbers take what they need.
    """
    return sheet_text(_sheet(grid), width=width)


def grid_html(grid: ComparisonGrid) -> str:
    """Return the table as HTML for a notebook; every text is escaped."""
    return sheet_html(_sheet(grid))


def grid_frame(grid: ComparisonGrid) -> DataFrame:
    """Return one row per number of shots, recipe and measure.

    Columns: ``shots``, ``recipe``, ``measure``, ``unit``, ``mean``, ``std``, ``draws``; see `rows_frame`.
    """
    rows = [
        ({"shots": shots, "recipe": recipe}, comparison.over_draws)
        for (recipe, shots), comparison in grid.comparisons.items()
    ]
    return rows_frame(rows, ("shots", "recipe"))


def _sheet(grid: ComparisonGrid) -> Sheet:
    names = {key: f"{key[0]}, {key[1]} shot{'s' * (key[1] > 1)}" for key in grid.comparisons}
    draws = {names[key]: comparison.draws for key, comparison in grid.comparisons.items()}
    first = next(iter(grid.comparisons.values()))
    facts = dict(facts_of(first.config, first.draws))
    seeds = ", ".join(map(str, grid.config.seeds))
    shots = ", ".join(map(str, grid.config.shots))
    n = len(grid.config.seeds)
    return Sheet(
        alarms=row_alarms(draws),
        facts=(
            ("model", facts["model"]),
            ("task", facts["task"]),
            ("demonstrations", f"{shots} shots, seed{'s' * (n > 1)} {seeds}"),
            ("queries", facts["queries"]),
            *((recipe, _recipe(grid, recipe)) for recipe in grid.recipes),
        ),
        warnings=_once(warning for run in draws.values() for warning in warnings_of(run)),
        blocks=(
            Block(
                "finetuning",
                ("learning rate",),
                tuple((row, ((_rates(run),),)) for row, run in draws.items()),
            ),
            *row_blocks(
                {names[key]: comparison.over_draws for key, comparison in grid.comparisons.items()}, n
            ),
        ),
        notes=(spread_note(n), *row_notes(draws)),
    )


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _rates(draws: Sequence[Draw]) -> str:
    runs = [draw.finetuned.finetuning for draw in draws if draw.finetuned.finetuning is not None]
    return ", ".join(_once(f"{run.learning_rate:g}" for run in runs))


def _recipe(grid: ComparisonGrid, name: str) -> str:
    comparison = next(run for (recipe, _), run in grid.comparisons.items() if recipe == name)
    recipe = load_recipe(comparison.config.recipe)
    trained = f"{comparison.draws[0].finetuned.trained_parameters:,} parameters"
    return f"{recipe.parameters} ({trained}), {recipe.describe()}"
