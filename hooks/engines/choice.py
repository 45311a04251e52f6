"""Which engine runs a model: chosen by name, or by what was given as the model."""

from __future__ import annotations

from typing import Any

from ...errors import UserError, shown
from ...models.loading import LanguageModel, load_model
from .engine import Engine
from .names import ENGINES, EngineName
from .native import NativeEngine


def choose_engine(engine: EngineName | Engine, model: Any) -> tuple[LanguageModel, Engine]:
    """Return the model as it is probed, and the engine that runs it.

    Args:
        engine: The name of an engine, or an engine.
        model: Whatever names or is a model.

    Raises:
        UserError: If there is no such engine, or its package is missing or of another version.
    """
    if not isinstance(engine, str):
        return load_model(model), engine
    if engine == "native":
        return load_model(model), NativeEngine()
    raise UserError(f"there is no engine {shown(engine)}: take {', '.join(ENGINES)}")
