"""How each kind of experiment is run: its configurations, and the studies they give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ...errors import UserError
from ...models.recipe import load_recipe
from ...settings import make_config
from ...study.plain_values import plain
from .declaration import Kind


def configuration(kind: Kind, settings: Mapping[str, Any]) -> BaseModel:
    """Return the configuration that settings resolve to.

    Args:
        kind: The analysis.
        settings: What it is told.

    Raises:
        UserError: If a key is unknown or a value impossible.
    """
    source = f"the {kind} experiment"
    if kind == "sparsity":
        from ..weights.sparsity_config import SparsityConfig

        return make_config(SparsityConfig, settings, source)
    if kind == "drift":
        from ..weights.drift_config import DriftConfig

        return make_config(DriftConfig, settings, source)
    if kind == "compare":
        from ..comparison.config import CompareConfig

        recipes = tuple(load_recipe(recipe) for recipe in settings["recipes"])
        return make_config(CompareConfig, {**settings, "recipes": recipes}, source)
    if kind == "order":
        from ..arms.order_config import OrderConfig

        return make_config(OrderConfig, settings, source)
    if kind == "outputs":
        from ..arms.outputs_config import OutputsConfig

        return make_config(OutputsConfig, settings, source)
    if kind == "gradients":
        from ..gradients.config import GradientsConfig

        return make_config(GradientsConfig, settings, source)
    raise UserError(f"no kind of experiment {kind!r}")


def study_key(kind: Kind, settings: Mapping[str, Any]) -> str:
    """Return what tells studies apart: equal keys have equal results.

    Args:
        kind: The analysis.
        settings: What it is told.
    """
    resolved = plain(configuration(kind, settings).model_dump())
    text = json.dumps([kind, resolved], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_study(kind: Kind, settings: Mapping[str, Any]) -> Any:
    """Run one study; comparisons come as a mapping from the recipe's name.

    Args:
        kind: The analysis.
        settings: What it is told.

    Raises:
        UserError: If something asked for cannot be done.
    """
    config: Any = configuration(kind, settings)
    if kind == "sparsity":
        from ..weights.sparsity import sparsity

        return sparsity(config=config)
    if kind == "drift":
        from ..weights.drift import drift

        return drift(config=config)
    if kind == "compare":
        from ..comparison.registration import compare

        study = compare(config)
        return {recipe: study[recipe, shots] for recipe, shots in study.cells}
    if kind == "order":
        from ..arms.order import order

        return order(config)
    if kind == "outputs":
        from ..arms.outputs import outputs

        return outputs(config)
    if kind == "gradients":
        from ..gradients.registration import gradients

        return gradients(config)
    raise UserError(f"no kind of experiment {kind!r}")
