"""Comparisons for several numbers of shots and several recipes: the pretrained settings once for all recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, shown
from ...models.loading import LanguageModel
from ...models.recipe import Recipe, load_recipe
from ...settings import make_config
from ...study.run_directory import free_run_name, run_directory
from ...tasks.task import Task
from ..configuration import CompareConfig, GridConfig
from ..study_files import write_study
from .files import write_comparison
from .run import check_comparisons, run_comparisons
from .study import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class ComparisonGrid:
    """One comparison for each number of shots and recipe.

    Attributes:
        config: What was asked for.
        comparisons: Each comparison by its recipe's name and number of shots: what `compare` alone gives.
        provenance: Versions, hashes and devices.
    """

    config: GridConfig
    comparisons: Mapping[tuple[str, int], Comparison]
    provenance: Mapping[str, Any]

    @property
    def recipes(self) -> tuple[str, ...]:
        """The names of the recipes, in the order asked for."""
        return tuple(dict.fromkeys(recipe for recipe, _ in self.comparisons))

    def __getitem__(self, key: tuple[str, int]) -> Comparison:
        """Return the comparison of a recipe and a number of shots, such as ``grid["dai", 4]``."""
        if key not in self.comparisons:
            there = ", ".join(f"[{recipe!r}, {shots}]" for recipe, shots in self.comparisons)
            raise KeyError(f"no comparison {shown(key)}: there are {there}")
        return self.comparisons[key]

    def to_pandas(self) -> DataFrame:
        """Return one row per number of shots, recipe and measure, with mean and standard deviation over draws."""
        from ...reports.grid_table import grid_frame

        return grid_frame(self)

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.grid_table import grid_text

        return grid_text(self)

    def plot(self, measures: Iterable[str] | None = None) -> Figure:
        """Draw measures, by their names in the table, against the number of shots; one line a recipe."""
        from ...reports.grid_figure import DEFAULT_MEASURES, grid_figure

        model = self.config.model.rstrip("/").rsplit("/", 1)[-1]
        return grid_figure(
            self,
            DEFAULT_MEASURES if measures is None else tuple(measures),
            title=f"{model} on {self.config.task}",
        )

    def results(self) -> dict[str, Any]:
        """Return the numbers of the table as JSON can hold them; each comparison has more."""
        return {
            "model": self.config.model,
            "task": self.config.task,
            "seeds": self.config.seeds,
            "comparisons": [
                {
                    "recipe": recipe,
                    "shots": shots,
                    "measures": {
                        measure.name: {
                            "unit": measure.unit,
                            "mean": measure.mean,
                            "std": measure.std,
                            "draws": measure.draws,
                        }
                        for measure in comparison.over_draws
                    },
                }
                for (recipe, shots), comparison in self.comparisons.items()
            ],
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run directory with one in it for each comparison, whole or not at all."""
        with run_directory(Path(path), overwrite=overwrite) as folder:
            _write(folder, self, _folders(folder, self.comparisons))
        return Path(path)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def _repr_html_(self) -> str:
        from ...reports.grid_table import grid_html

        return grid_html(self)


def compare_grid(
    config: GridConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> ComparisonGrid:
    """Compare in-context learning with finetuning for several numbers of shots and several recipes.

    Everything is what `compare` gives for each of them, but the zero-shot setting runs once, and in-context learning
    once for each draw of demonstrations.

    Args:
        config: Everything about the comparisons; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        say: Told what is about to happen: the estimate, and where results went.
        options: Fields of `GridConfig`, such as ``shots=(1, 2, 4)`` or ``recipes=("dai", "barnatan_lcft")``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    settings = dict(options)
    if isinstance(model, str):
        settings["model"] = model
    if isinstance(task, str):
        settings["task"] = task
    base = config.model_dump(exclude_unset=True) if config else {}
    resolved: GridConfig = make_config(GridConfig, {**base, **settings}, "the comparison")
    planned = _planned(resolved)
    check_comparisons(list(planned.values()))
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    with directory as folder:
        folders = None if folder is None else _folders(folder, planned)
        run = run_comparisons(
            list(planned.values()),
            model,
            task,
            folders=[None] * len(planned) if folders is None else list(folders.values()),
            say=say or (lambda line: None),
        )
        comparisons = {
            key: Comparison(one, draws, run.provenance)
            for key, one, draws in zip(planned, run.configs, run.draws, strict=True)
        }
        named = resolved.model_copy(
            update={name: getattr(run.configs[0], name) for name in ("model", "task", "chat_template")}
        )
        grid = ComparisonGrid(named, comparisons, run.provenance)
        if folder is not None and folders is not None:
            _write(folder, grid, folders)
    return grid


def _planned(config: GridConfig) -> dict[tuple[str, int], CompareConfig]:
    """Return the comparison of each recipe and number of shots."""
    recipes: dict[str, Recipe] = {}
    for source in config.recipes:
        recipe = load_recipe(source)
        if recipe.name in recipes:
            raise UserError(
                f"two recipes are called {shown(recipe.name)}: give one of them a name of its own (the key name of a "
                "mapping or YAML file)"
            )
        recipes[recipe.name] = recipe
    return {
        (name, shots): config.comparison(shots=shots, recipe=recipe, save_captures=config.save_captures)
        for shots in config.shots
        for name, recipe in recipes.items()
    }


def _folders(folder: Path, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Path]:
    """Make a folder for each comparison, named after shots and recipe."""
    folders = {}
    for recipe, shots in keys:
        folders[recipe, shots] = folder / free_run_name(f"{shots}shots", recipe, parent=folder)
        folders[recipe, shots].mkdir()
    return folders


def _write(folder: Path, grid: ComparisonGrid, folders: Mapping[tuple[str, int], Path]) -> None:
    for key, comparison in grid.comparisons.items():
        write_comparison(folders[key], comparison.config, comparison.draws, comparison.provenance)
    recipes = tuple(load_recipe(source) for source in grid.config.recipes)
    write_study(
        folder,
        config=grid.config.model_copy(update={"recipes": recipes}),
        results=grid.results(),
        table=grid.table(),
        frames={"grid": grid.to_pandas()},
        figures={"grid": grid.plot()},
        provenance=grid.provenance,
    )
