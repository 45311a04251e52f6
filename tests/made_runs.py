"""What a trainer leaves behind: full checkpoints and PEFT adapters of a tiny model, step after step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from made_adapters import live

from iclprobe.models.loading import load_model

STEPS = (100, 200, 1000)


def drawn_change(module: Any, seed: int, spread: float = 0.05) -> dict[str, torch.Tensor]:
    """A change of every weight of the attention's projections."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: spread * torch.randn(parameter.shape, generator=generator)
        for name, parameter in module.named_parameters()
        if "_proj." in name and "self_attn" in name
    }


def write_full(folder: Path, checkpoint: Path, change: Mapping[str, torch.Tensor], **options: Any) -> Path:
    """A model of changed weights, saved without its tokenizer as trainers do between epochs."""
    module = load_model(checkpoint, device="cpu").module
    with torch.no_grad():
        for name, tensor in change.items():
            module.get_parameter(name).add_(tensor)
    module.save_pretrained(folder, **options)
    return folder


def write_full_run(folder: Path, checkpoint: Path) -> Path:
    """A trainer's folder with full checkpoints, each further away than the one before, and no finished model."""
    module = load_model(checkpoint, device="cpu").module
    for place, step in enumerate(STEPS):
        write_full(folder / f"checkpoint-{step}", checkpoint, drawn_change(module, 7, 0.03 * (place + 1)))
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    (folder / "runs").mkdir()
    return folder


def write_adapter_run(folder: Path, checkpoint: Path) -> Path:
    """A trainer's folder with adapters, and the finished one beside its checkpoints."""
    from peft import LoraConfig

    for place, name in enumerate((*(f"checkpoint-{step}" for step in STEPS), "")):
        config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
        module = load_model(checkpoint, device="cpu").module
        live(module, config, spread=0.05 + 0.05 * place, seed=place).save_pretrained(folder / name)
    return folder
