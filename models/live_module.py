"""Models that are in memory already, taken for what they are: compiled, on several devices, with adapters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import UserError
from .adapter_types import why_not_weights


def running_module(module: torch.nn.Module) -> Any:
    """Return the transformers module that runs when a live model is called.

    `torch.compile`, ``DataParallel``, ``DistributedDataParallel`` and PEFT's models are taken off, in whatever order
    they were put on. The modules inside are the very ones of the given model: its adapters stay in it, active and
    unmerged, and no weight is touched.

    Args:
        module: A module of transformers, or one that wraps it.

    Raises:
        UserError: If an adapter acts elsewhere than in the weights, or the weights are sharded.
    """
    while (inner := _inner_module(module)) is not module:
        module = inner
    return module


def calling_module(module: torch.nn.Module) -> torch.nn.Module | None:
    """Return the PEFT model around a live model, which calls its forward without its hooks; None if there is none."""
    while (inner := _inner_module(module)) is not module:
        if _is_peft_model(module):
            return module
        module = inner
    return None


@contextmanager
def running_eagerly() -> Iterator[None]:
    """Let what is compiled run as it was written while the context lasts: inside a compiled graph nothing is seen."""
    # What was never imported has compiled nothing, and importing it takes a second.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _inner_module(module: torch.nn.Module) -> torch.nn.Module:
    if is_compiled(module):
        return module._orig_mod  # type: ignore[return-value]
    if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        return module.module
    if type(module).__name__ == "FullyShardedDataParallel":
        raise UserError(
            "FullyShardedDataParallel keeps a share of each weight on each device: give the model before it was "
            "sharded, or where it was saved"
        )
    if not _is_peft_model(module):
        return module
    wrapper: Any = module
    for config in wrapper.peft_config.values():
        reason = why_not_weights(config.to_dict())
        if reason is not None:
            raise UserError(
                f"this {type(module).__name__} carries an adapter of type {config.peft_type.value}, {reason}: give "
                "the model with another adapter, or without"
            )
    return wrapper.base_model.model


def _is_peft_model(module: torch.nn.Module) -> bool:
    # Without peft in memory there is none, and importing it takes seconds.
    if "peft" not in sys.modules:
        return False
    from peft import PeftMixedModel, PeftModel

    return isinstance(module, PeftModel | PeftMixedModel)


def is_compiled(module: torch.nn.Module) -> bool:
    """Return whether a module is what `torch.compile` made of another."""
    return "_orig_mod" in module._modules
