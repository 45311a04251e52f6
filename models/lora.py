"""Low-rank adapters, through PEFT: put into the live model, trained, merged into a delta and taken out again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..seeds import derive_seed
from .loading import LanguageModel
from .parameters import TrainedSlice, selected_projections
from .recipe import Recipe


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

    An adapter begins as a map to zero. Fused projections (GPT-2) are adapted as the one matrix they are.

    Args:
        model: The model.
        recipe: The recipe; adapters are asked for by parameters such as ``lora_qv`` or ``lora_qv@-1``.
        seed: Seed of the adapters' initial values, and of a drawn layer.

    Raises:
        UserError: If PEFT is not installed, or there is no such layer.
    """
    chosen = selected_projections(model, recipe.parameters, seed)
    if chosen is None or chosen[2] != "lora":
        yield None
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            f"parameters {recipe.parameters!r} need the peft package: pip install 'iclprobe[peft]'"
        ) from error
    names = {id(module): name for name, module in model.module.named_modules()}
    weights = {id(parameter): name for name, parameter in model.module.named_parameters()}
    targets = {
        names[id(part.projections[projection])]: part.projections[projection]
        for part in chosen[0]
        for projection in chosen[1]
    }
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type] - a float does as well
        lora_dropout=0.0,
        target_modules=list(targets),
        fan_in_fan_out=model.family.transposed,
    )
    configured = getattr(model.module, "peft_config", None)
    flags = [(parameter, parameter.requires_grad) for parameter in model.module.parameters()]
    try:
        inject_adapter_in_model(config, model.module)
        layers = tuple((name, model.module.get_submodule(name)) for name in targets)
        for name, layer in layers:
            _initialise(layer, derive_seed("lora", seed, name))
        yield Adapters(
            tuple(
                TrainedSlice(name) for name, _ in model.module.named_parameters() if name.find("lora_") >= 0
            ),
            tuple((weights[id(targets[name].weight)], layer) for name, layer in layers),
        )
    finally:
        for name, module in targets.items():
            owner, _, child = name.rpartition(".")
            setattr(model.module.get_submodule(owner), child, module)
        if configured is None and hasattr(model.module, "peft_config"):
            del model.module.peft_config
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _initialise(layer: Any, seed: int) -> None:
    """Draw A from a generator of its own, as PEFT draws it from the global one; B stays zero."""
    generator = torch.Generator().manual_seed(seed)
    for factor in layer.lora_A.values():
        drawn = torch.empty(factor.weight.shape)
        torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        with torch.no_grad():
            factor.weight.copy_(drawn)
