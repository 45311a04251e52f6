"""The comparisons that one configuration asks for: one for each recipe, or finetuned model, and number of shots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import UserError, shown
from ...models.recipe import Recipe, load_recipe
from ..configuration import CellConfig, MeasuringConfig
from .config import CompareConfig
from .finetuned import comparison_recipe
from .finetuned_models import check_files, finetuned_models
from .settings import require_comparable


def cells_of(config: CompareConfig) -> dict[tuple[str, int], CellConfig]:
    """Return the comparison of each recipe's name, or finetuned model, and number of shots.

    Raises:
        UserError: If a recipe cannot be read, two have one name, or there is no such finetuned model.
    """
    shared = {name: getattr(config, name) for name in MeasuringConfig.model_fields}
    shared["save_captures"] = config.save_captures
    if config.finetuned:
        models = finetuned_models(config)
        return {
            (name, shots): CellConfig(**{**shared, "shots": shots, "finetuned": model})
            for shots in config.shots
            for name, model in models.items()
        }
    recipes = recipes_of(config.recipes)
    return {
        (name, shots): CellConfig(**{**shared, "shots": shots, "recipe": recipe})
        for shots in config.shots
        for name, recipe in recipes.items()
    }


def recipes_of(sources: Iterable[Recipe | str | dict[str, Any]]) -> dict[str, Recipe]:
    """Return recipes by their names.

    Args:
        sources: Presets, YAML files or mappings.

    Raises:
        UserError: If one cannot be read, or two have one name.
    """
    recipes: dict[str, Recipe] = {}
    for source in sources:
        recipe = load_recipe(source)
        if recipe.name in recipes:
            raise UserError(
                f"two recipes are called {shown(recipe.name)}: give one of them a name of its own (the key name of a "
                "mapping or YAML file)"
            )
        recipes[recipe.name] = recipe
    return recipes


def check_comparison(config: CompareConfig) -> None:
    """Refuse what cannot be compared before anything is loaded.

    Raises:
        UserError: If a plan leaves out what is needed, or a recipe or a finetuned model cannot be used.
    """
    if config.finetuned:
        check_files(config)
    for cell in cells_of(config).values():
        check_cell(cell)


def check_cell(config: CellConfig) -> None:
    """Refuse one comparison that cannot be made.

    Raises:
        UserError: If its plan leaves out what is needed, or its recipe cannot be read.
    """
    require_comparable(config)
    comparison_recipe(config)
