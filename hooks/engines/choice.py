"""Which engine runs a model: chosen by name, or by what was given as the model."""

from __future__ import annotations

from typing import Any

from ...errors import UserError, shown
from ...models.loading import LanguageModel, load_model
from .engine import Engine
from .lens_bridge import is_bridge, model_inside
from .names import ENGINES, EngineName
from .native import NativeEngine
from .nnsight import NNsightEngine


def choose_engine(engine: EngineName | Engine, model: Any) -> tuple[LanguageModel, Engine]:
    """Return the model as it is probed, and the engine that runs it.

    Args:
        engine: The name of an engine, or an engine.
        model: Whatever names or is a model, or a bridge of TransformerLens around one.

    Raises:
        UserError: If there is no such engine, its package is missing or of another version, or a bridge holds
            processed weights.
    """
    if engine == "nnsight":
        engine = NNsightEngine()
    if isinstance(engine, NNsightEngine):
        return engine.load(model_inside(model) if is_bridge(model) else model), engine
    loaded = model_inside(model) if is_bridge(model) else load_model(model)
    if not isinstance(engine, str):
        return loaded, engine
    if engine == "native":
        return loaded, NativeEngine()
    if engine == "transformer-lens":
        from .transformer_lens import TransformerLensEngine

        return loaded, TransformerLensEngine(model if is_bridge(model) else None)
    raise UserError(f"there is no engine {shown(engine)}: take {', '.join(ENGINES)}")
