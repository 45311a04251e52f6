"""TransformerLens's bridge around a model, and the model inside a bridge that somebody has already."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...errors import UserError, reason_of, shown
from ...models.loading import LanguageModel, load_model
from .packages import require_package
from .shared_copy import shared_copy

EXTRA = "transformer-lens"


def is_bridge(model: Any) -> bool:
    """Return whether something is a bridge; TransformerLens is not imported for it."""
    # Without the library in memory there is none, and importing it takes seconds.
    if "transformer_lens" not in sys.modules:
        return False
    return isinstance(model, _library()[0])


def bridge_around(model: LanguageModel) -> Any:
    """Return a bridge around a copy of a model's modules that shares its tensors, running eager attention.

    Where a model holds W_Q, W_K and W_V in one tensor, TransformerLens splits it, and for some families copies it.

    Raises:
        UserError: If TransformerLens is missing or of another version, or cannot run this model.
    """
    version = require_package(EXTRA)
    _, build = _library()
    module = shared_copy(model.module)
    architecture = type(module).__name__
    module.config.architectures = [architecture]
    try:
        with _quietly(), _own_random_numbers(model.device):
            # A kernel that forms no scores has none to show.
            module.set_attn_implementation("eager")
            bridge = build(module, architecture, hf_config=module.config, model_name=model.name)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"TransformerLens {version} does not run {shown(model.name)} ({architecture}; {reason_of(error, 100)}): "
            "take engine native or nnsight"
        ) from error
    if not is_stack(bridge):
        raise UserError(
            f"TransformerLens {version} has no one stack of blocks for {shown(model.name)} ({architecture}): take "
            "engine native or nnsight"
        )
    return bridge


def let_go(bridge: Any) -> None:
    """Take the tensors out of a bridge that is no longer needed.

    A bridge refers to itself, so it stays until Python looks for such circles, and it may hold copies of weights.
    """
    for root in (bridge, bridge.original_model):
        for part in root.modules():
            part._parameters.clear()
            part._buffers.clear()


def model_inside(bridge: Any) -> LanguageModel:
    """Return the model that a bridge wraps, as it was before: its modules copied, its tensors shared.

    Raises:
        UserError: If the weights of the bridge were processed, or it wraps no transformers model.
    """
    require_package(EXTRA)
    refuse_processed(bridge)
    from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
    from transformers import PreTrainedModel

    module = getattr(bridge, "original_model", None)
    if not isinstance(module, PreTrainedModel) or not is_stack(bridge):
        raise UserError(
            "this bridge wraps no causal language model of transformers in memory: make one with "
            "TransformerBridge.boot_transformers"
        )
    wrapped: dict[torch.nn.Module, torch.nn.Module] = {
        part: part.original_component
        for part in module.modules()
        if isinstance(part, GeneralizedComponent) and part.original_component is not None
    }
    plain = shared_copy(module, wrapped)
    return load_model(plain.train(module.training), tokenizer=bridge.tokenizer)


def is_stack(bridge: Any) -> bool:
    """Return whether a bridge has its decoder layers as one list of blocks."""
    return isinstance(bridge._modules.get("blocks"), torch.nn.ModuleList)


def refuse_processed(bridge: Any) -> None:
    """Refuse a bridge whose weights were folded or centred.

    Raises:
        UserError: If they were.
    """
    # There is no public way to ask; TransformerLens's own tools ask this too.
    if bridge._weights_processed:
        raise UserError(
            "this bridge's weights were processed (enable_compatibility_mode folds norms and centres weights), so "
            "its activations are other numbers than the model's: boot a bridge without it, or call "
            "enable_compatibility_mode(no_processing=True)"
        )


def _library() -> tuple[type, Any]:
    """Import TransformerLens, and take back what importing it changes for everybody: log level and warnings."""
    with _quietly():
        from transformer_lens.model_bridge import TransformerBridge
        from transformer_lens.model_bridge.sources import build_bridge_from_module
    return TransformerBridge, build_bridge_from_module


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep back what is said about hooks and kernels that a model does not have: what is asked for is looked up."""
    log = logging.getLogger("transformers")
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Hook alias")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Give back the random numbers that the layers made for split weights draw before they are overwritten."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
