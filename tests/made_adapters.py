"""PEFT adapters with every trained number drawn, so that none of what they do can hide."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def live(module: Any, config: Any, *, spread: float = 0.2, seed: int = 0) -> Any:
    """The module inside a PeftModel, with an adapter that does something."""
    from peft import get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wrapped = get_peft_model(module, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    return wrapped.eval()


def write_adapter(folder: Path, module: Any, config: Any, *, spread: float = 0.2) -> Path:
    """An adapter on disk, as PEFT saves it."""
    live(module, config, spread=spread).save_pretrained(folder)
    return folder


def change_tensors(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def logits(module: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=torch.tensor([ids])).logits
