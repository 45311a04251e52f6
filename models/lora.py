"""Low-rank adapters, through PEFT: put into the live model, trained, merged into a delta and taken out again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from ..seeds import derive_seed
from .live_adapter import plain_module, refuse_under_adapter
from .loading import LanguageModel
from .parameters import TrainedSlice, selected_projections
from .recipe import Recipe

if TYPE_CHECKING:
    from .layer_parts import LayerParts
    from .projections import Projection


@dataclass(frozen=True, eq=False)
class Adapters:
    """Adapters that a model holds.

    Attributes:
        slices: Their parameters, which are trained whole.
        layers: For each adapted weight its name before the adapters came, and the module that PEFT put there.
    """

    slices: tuple[TrainedSlice, ...]
    layers: tuple[tuple[str, Any], ...]

    def merged(self) -> dict[str, Tensor]:
        """Return every adapted weight with its adapter added, in fp32 and then in the weight's dtype."""
        merged = {}
        with torch.no_grad(), torch.autocast(self.layers[0][1].weight.device.type, enabled=False):
            for name, layer in self.layers:
                weight = layer.base_layer.weight
                added = weight.float() + layer.get_delta_weight("default").float()
                merged[name] = added.to(weight.dtype).detach().clone()
        return merged


@contextmanager
def adapted(model: LanguageModel, recipe: Recipe, seed: int) -> Iterator[Adapters | None]:
    """Let a model hold the adapters that a recipe trains while the context lasts; None for another recipe.

    An adapter begins as a map to zero. Fused projections (GPT-2) are adapted as the one matrix they are. Adapters
    that the model carries already stay as they are, and these act beneath them, on the weight itself.

    Args:
        model: The model.
        recipe: The recipe; adapters are asked for by parameters such as ``lora_qv`` or ``lora_qv@-1``.
        seed: Seed of the adapters' initial values, and of a drawn layer.

    Raises:
        UserError: If PEFT is not installed, there is no such layer, or the model carries an adapter beneath which no
            other can be trained.
    """
    chosen = selected_projections(model, recipe.parameters, seed)
    if chosen is None or chosen[2] != "lora":
        yield None
        return
    targets = _targets(model, chosen[0], chosen[1])
    weights = {id(parameter): name for name, parameter in model.module.named_parameters()}
    flags = [(parameter, parameter.requires_grad) for parameter in model.module.parameters()]
    try:
        layers = {name: _adapted(module, model, recipe, seed, name) for name, module in targets.items()}
        for name, layer in layers.items():
            _put(model.module, name, layer)
        ours = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
        yield Adapters(
            tuple(
                TrainedSlice(name)
                for name, parameter in model.module.named_parameters()
                if id(parameter) in ours and id(parameter) not in weights
            ),
            tuple((weights[id(targets[name].weight)], layer) for name, layer in layers.items()),
        )
    finally:
        for name, module in targets.items():
            _put(model.module, name, module)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _targets(
    model: LanguageModel, parts: Sequence[LayerParts], projections: Sequence[Projection]
) -> dict[str, Any]:
    """Return the plain modules that are adapted by name: beneath the adapters that a model carries already."""
    names = {id(module): name for name, module in model.module.named_modules()}
    targets = {}
    for part in parts:
        for projection in projections:
            if projection not in part.projections:
                continue
            refuse_under_adapter(
                part.projections[projection], f"the {projection} projection of layer {part.index}"
            )
            module = plain_module(part.projections[projection])
            targets[names[id(module)]] = module
    return targets


def _adapted(module: Any, model: LanguageModel, recipe: Recipe, seed: int, name: str) -> Any:
    """Return PEFT's layer around a module, made where it sees neither the model nor the adapters it carries."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            f"parameters {recipe.parameters!r} need the peft package: pip install 'iclprobe[peft]'"
        ) from error
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type] - a float does as well
        lora_dropout=0.0,
        target_modules=["module"],
        fan_in_fan_out=model.family.transposed,
    )
    holder: Any = torch.nn.ModuleDict({"module": module})
    with torch.random.fork_rng(devices=[]):
        layer: Any = inject_adapter_in_model(config, holder)["module"]  # type: ignore[index]
    _initialise(layer, derive_seed("lora", seed, name))
    return layer


def _put(root: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    owner, _, child = name.rpartition(".")
    setattr(root.get_submodule(owner), child, module)


def _initialise(layer: Any, seed: int) -> None:
    """Draw A from a generator of its own, as PEFT draws it from the global one; B stays zero."""
    generator = torch.Generator().manual_seed(seed)
    for factor in layer.lora_A.values():
        drawn = torch.empty(factor.weight.shape)
        torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        with torch.no_grad():
            factor.weight.copy_(drawn)
