"""The linear maps that an MLP begins with: found in each layer, and their outputs moved in rows of one forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..models.layer_parts import LayerParts
from ..models.loading import LanguageModel

_TRANSPOSED = "Conv1D"


@dataclass(frozen=True)
class FirstMaps:
    """What is given an MLP's input in one layer: one map, or the gate and what it gates.

    Attributes:
        layer: The layer, counted from 0.
        modules: The maps, in the order of their outputs in `weight`.
    """

    layer: int
    modules: tuple[torch.nn.Module, ...]

    def weight(self) -> Tensor:
        """Return their weights above each other, ``[m, d]`` in fp32 on the CPU."""
        return torch.cat([_weight(module).detach().float().cpu() for module in self.modules])

    @property
    def widths(self) -> list[int]:
        """How many outputs each has."""
        return [len(_weight(module)) for module in self.modules]


def first_maps(model: LanguageModel) -> tuple[FirstMaps, ...]:
    """Return the first maps of every layer with attention.

    Raises:
        UserError: If the MLP of a layer is not one or two linear maps of its input and one back, such as experts.
    """
    return tuple(FirstMaps(part.index, _maps_of(model, part)) for part in model.parts)


@contextmanager
def moved_outputs(
    maps: Mapping[int, FirstMaps], moves: Mapping[int, tuple[Tensor, Tensor]], rows: int
) -> Iterator[None]:
    """Add to what first maps give at the last token of some rows, in the first forward inside the ``with``.

    Args:
        maps: The first maps by their layer.
        moves: By layer which rows are moved ``[r]``, and by what ``[r, m]``.
        rows: How many rows the forward has; their last tokens are all at its end.
    """
    with ExitStack() as stack:
        for layer, (moved, by) in moves.items():
            for module, part in zip(maps[layer].modules, by.split(maps[layer].widths, dim=-1), strict=True):
                handle = module.register_forward_hook(_moving(moved, part, rows))
                stack.callback(handle.remove)
        yield


def _moving(moved: Tensor, by: Tensor, rows: int) -> Any:
    done = False

    def move(module: torch.nn.Module, args: Any, output: Tensor) -> Tensor | None:
        nonlocal done
        if done:
            return None
        done = True
        # OPT's maps see all tokens of a batch in one axis.
        by_token = output.view(rows, -1, output.shape[-1]).clone()
        by_token[moved.to(output.device), -1] += by.to(by_token)
        return by_token.view(output.shape)

    return move


def _maps_of(model: LanguageModel, part: LayerParts) -> tuple[torch.nn.Module, ...]:
    block, last = part.mlp_input, part.mlp_output
    if block is None or last is None or not _is_linear(last):
        raise _refusal(model, part, "there is no one map that its output comes from")
    found = tuple(module for module in block.modules() if _is_linear(module) and module is not last)
    known = {id(parameter) for module in (*found, last) for parameter in module.parameters()}
    others = [name for name, each in block.named_parameters() if each.dim() > 1 and id(each) not in known]
    if others:
        raise _refusal(model, part, f"it has {others[0]}")
    if len(found) not in (1, 2) or any(_weight(module).shape[1] != model.width for module in found):
        raise _refusal(model, part, f"it has {len(found)} maps before the last")
    return found


def _refusal(model: LanguageModel, part: LayerParts, why: str) -> UserError:
    return UserError(
        f"the MLP of layer {part.index} of {shown(model.name)} ({model.family.label}) is not one or two linear maps "
        f"of its input and one back ({why}): take a model with dense MLPs"
    )


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == _TRANSPOSED


def _weight(module: torch.nn.Module) -> Tensor:
    weight: Any = module.weight
    return weight.T if type(module).__name__ == _TRANSPOSED else weight
