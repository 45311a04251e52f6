"""PEFT adapters that live in a model, unmerged: the plain modules beneath them, and the weights that act."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .live_module import is_compiled
from .plain_weights import stored_as

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class ActingTensor:
    """A parameter or buffer of a model as it acts, adapters included.

    Attributes:
        shape: Its shape.
        dtype: Its dtype, or the name of its class where it is quantised, see `stored_as`.
        read: Makes it, or returns the model's own tensor where no adapter changes it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | str
    read: Callable[[], Tensor]


def carries_adapter(module: torch.nn.Module) -> bool:
    """Return whether a model, or a part of one, holds an adapter that was not merged and taken out again."""
    return any(_is_tuner_layer(part) or _is_stand_in(part) for part in module.modules())


def active_adapters(module: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of the adapters that act in a model."""
    layers: list[Any] = [part for part in module.modules() if _is_tuner_layer(part) or _is_stand_in(part)]
    return tuple(
        dict.fromkeys(
            name for layer in layers if not layer.disable_adapters for name in layer.active_adapters
        )
    )


def plain_module(module: torch.nn.Module) -> Any:
    """Return the module whose own weights act: beneath adapters, or the one that an adapter put in its place."""
    while (step := _step_down(module)) is not None:
        module = step[1]
    return module


def plain_names(module: torch.nn.Module) -> dict[str, str]:
    """Return the names of a model's own parameters, each with the one that it would have if no adapter were there.

    Parameters of adapters are left out, and so are those that an adapter's whole modules (``modules_to_save``) stand
    in for. A tied parameter is there under each of its names.
    """
    return {
        real + name: plain + name
        for plain, real, part, _ in _plain_parts(module)
        for name, _ in part.named_parameters(recurse=False)
    }


def acting_tensors(module: torch.nn.Module) -> dict[str, ActingTensor]:
    """Return every parameter and buffer of a model as it acts, by the name it has without adapters.

    A weight beneath an adapter is made when it is read: a copy of the one layer is merged. In half precision it is
    fp32, for an unmerged model adds the outputs of weight and adapter and never rounds their sum.

    Raises:
        UserError: When a tensor is read, if PEFT cannot merge the adapter of its layer.
    """
    found = {}
    for plain, _, part, layer in _plain_parts(module):
        for name, tensor in _stored_tensors(part):
            found[plain + name] = _acting_tensor(plain, name, tensor.detach(), layer)
    return found


def silence_adapters(module: torch.nn.Module) -> None:
    """Switch off every adapter in a model, or in a part of one."""
    layers: list[Any] = [part for part in module.modules() if _is_tuner_layer(part) or _is_stand_in(part)]
    for layer in layers:
        layer.enable_adapters(False)


def refuse_under_adapter(module: torch.nn.Module, name: str) -> None:
    """Refuse a part of a model whose adapters would not see a change that is added to the output of its plain module.

    LoRA adds to that output and IA³ multiplies it; DoRA and others read the weight itself.

    Args:
        module: The part, such as one projection.
        name: What messages call it.

    Raises:
        UserError: If it carries such an adapter.
    """
    for part in module.modules():
        if _is_tuner_layer(part) and not _adds_or_multiplies(part):
            raise UserError(
                f"{name} carries an adapter ({type(part).__name__} of {type(part).__module__}) that reads the "
                "weight beneath it, so no other adapter can be trained there: merge it first "
                "(merge_and_unload()), or train the weights (attn_qv)"
            )


def _adds_or_multiplies(layer: Any) -> bool:
    from peft.tuners.ia3 import IA3Layer
    from peft.tuners.lora import LoraLayer

    if isinstance(layer, LoraLayer):
        return not any(name in layer.lora_variant for name in layer.active_adapters)
    return isinstance(layer, IA3Layer)


def _stored_tensors(part: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what a state dict has of a module itself."""
    yield from part.named_parameters(recurse=False)
    for name, buffer in part.named_buffers(recurse=False):
        if name not in part._non_persistent_buffers_set:
            yield name, buffer


def _acting_tensor(prefix: str, name: str, tensor: Tensor, layer: Any) -> ActingTensor:
    # A merged adapter is in the weight already, and one that is merged and switched off is to be taken out of it.
    if layer is None or not tensor.is_floating_point() or layer.merged != layer.disable_adapters:
        return ActingTensor(tuple(tensor.shape), stored_as(tensor), lambda: tensor)
    dtype = torch.float32 if tensor.dtype in _HALF else tensor.dtype
    return ActingTensor(tuple(tensor.shape), dtype, lambda: _merged(layer, prefix, name).to(dtype))


def _merged(layer: Any, prefix: str, name: str) -> Tensor:
    """Return a tensor of the plain module beneath an adapter after merging in a copy."""
    layer = copy.deepcopy(layer)
    if layer.get_base_layer().weight.dtype in _HALF:
        layer = layer.float()
    try:
        if layer.disable_adapters:
            layer.unmerge()
        elif not layer.merged:
            layer.merge()
    except Exception as error:
        # PEFT's methods raise what they like where merging is impossible.
        raise UserError(
            f"PEFT cannot merge the adapter on {prefix.removesuffix('.')} ({type(layer).__name__}), so the weight "
            "that acts there is unknown: give the model without that adapter"
        ) from error
    return getattr(layer.get_base_layer(), name).detach()


def _plain_parts(
    module: torch.nn.Module, plain: str = "", real: str = ""
) -> Iterator[tuple[str, str, torch.nn.Module, torch.nn.Module | None]]:
    """Yield every module that an adapter did not bring.

    Yields:
        The beginning of its tensors' names without adapters, and as they are; the module; the outermost adapter
        above it, or None.
    """
    layer = None
    while (step := _step_down(module)) is not None:
        if layer is None and _is_tuner_layer(module):
            layer = module
        real, module = f"{real}{step[0]}.", step[1]
    yield plain, real, module, layer
    for name, child in module.named_children():
        yield from _plain_parts(child, f"{plain}{name}.", f"{real}{name}.")


def _step_down(module: Any) -> tuple[str, torch.nn.Module] | None:
    """Return what a wrapper around one module runs, with its name in the wrapper; None for any other module."""
    if is_compiled(module):
        return "_orig_mod", module._orig_mod
    if _is_tuner_layer(module):
        return ("base_layer", module.base_layer) if hasattr(module, "base_layer") else None
    if not _is_stand_in(module):
        return None
    if "token_adapter" in module._modules:
        return "token_adapter", module.token_adapter
    active = next(iter(module.active_adapters), None)
    if module.disable_adapters or active not in module.modules_to_save:
        return "original_module", module.original_module
    return f"modules_to_save.{active}", module.modules_to_save[active]


def _is_tuner_layer(module: torch.nn.Module) -> bool:
    # Without peft in memory there is none, and importing it takes seconds.
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer)


def _is_stand_in(module: torch.nn.Module) -> bool:
    """Return whether PEFT put a module with whole weights of an adapter in the place of the model's own."""
    if "peft" not in sys.modules:
        return False
    from peft.utils.other import AuxiliaryTrainingWrapper

    return isinstance(module, AuxiliaryTrainingWrapper)
