"""A copy of a model's modules that holds the same tensors, for libraries that change the modules they are given."""

from __future__ import annotations

import copy
from typing import Any

import torch


def shared_copy(
    module: torch.nn.Module, replaced: dict[torch.nn.Module, torch.nn.Module] | None = None
) -> Any:
    """Copy the modules of a model and its configuration; parameters, buffers and what its hooks call are shared.

    What is swapped into a shared parameter later is swapped into both.

    Args:
        module: The model.
        replaced: Modules in place of which copies of others are to stand, which may hold such modules again.
    """
    tensors = [*module.parameters(), *module.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    # What a hook belongs to may be anything, and not to be copied; a module's own method goes with its module.
    for hook in _hooks_of(module):
        if not isinstance(getattr(hook, "__self__", None), torch.nn.Module):
            memo[id(hook)] = hook
    # From the inside out: what stands in a module's place may hold others that are replaced.
    for outer, inner in reversed((replaced or {}).items()):
        memo[id(outer)] = copy.deepcopy(inner, memo)
    return copy.deepcopy(module, memo)


def _hooks_of(module: torch.nn.Module) -> list[Any]:
    return [
        hook
        for part in module.modules()
        for hooks in (part._forward_pre_hooks, part._forward_hooks)
        for hook in hooks.values()
    ]
