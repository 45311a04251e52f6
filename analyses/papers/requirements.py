"""What an experiment takes at the paper's scale: memory, disk and GPU hours, before anything is fetched.

The estimate is arithmetic on a table of model sizes: weights in half precision; for finetuning, beside them, a
working copy, a gradient and an fp32 master of what is trained (and Adam's two moments); 2 × parameters operations a
token forward and 6 a token of training. It leaves out activations, and takes the throughput that one current
data-centre GPU reaches in practice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .declaration import Experiment
from .scales import FAIRSEQ, GPT2_XL, GPT_J, GPT_NEO, LLAMA, PYTHIA, QWEN, Resolved

OPERATIONS_PER_SECOND = 1.5e14


@dataclass(frozen=True)
class ModelSize:
    """How large a model is.

    Attributes:
        parameters: How many numbers.
        layers: Decoder layers.
        width: Width of the residual stream.
        file_bytes: Bytes of a number in the checkpoint on the hub.
    """

    parameters: float
    layers: int
    width: int
    file_bytes: int = 2


MODEL_SIZES: Mapping[str, ModelSize] = {
    LLAMA: ModelSize(6.74e9, 32, 4096),
    GPT_J: ModelSize(6.05e9, 28, 4096, 4),
    GPT_NEO: ModelSize(2.65e9, 32, 2560, 4),
    GPT2_XL: ModelSize(1.56e9, 48, 1600, 4),
    QWEN: ModelSize(7.72e9, 32, 4096),
    FAIRSEQ: ModelSize(1.31e9, 24, 2048, 4),
    PYTHIA: ModelSize(6.86e9, 32, 4096),
}

RECORD_TOKENS: Mapping[str, int] = {
    "agnews": 60,
    "sst2": 25,
    "sst5": 30,
    "mr": 35,
    "subj": 35,
    "cb": 85,
    "rte": 80,
}
"""Tokens of one record with its template, on average and roughly."""

_TASK_DISK = 0.1e9
# Presets that train one drawn layer.
_DRAWN = ("shen_deep", "shen_middle")


@dataclass(frozen=True)
class Requirements:
    """What an experiment takes.

    Attributes:
        gpu_bytes: Weights and what training keeps beside them, of the largest part.
        disk_bytes: Checkpoints and datasets to fetch.
        gpu_hours: Hours of one GPU.
    """

    gpu_bytes: float
    disk_bytes: float
    gpu_hours: float

    def describe(self) -> str:
        """Return one line."""
        hours = "under 0.1" if self.gpu_hours < 0.1 else f"about {self.gpu_hours:.2g}"
        memory = f"{self.gpu_bytes / 1e9:.0f} GB of GPU memory" if self.gpu_bytes else "no GPU"
        return (
            f"  needs: {memory}, {self.disk_bytes / 1e9:.0f} GB of disk, {hours} "
            f"GPU hours (estimated from model sizes × tokens × runs at {OPERATIONS_PER_SECOND / 1e12:.0f} TFLOP/s, "
            "activations and searches for learning rates left out)"
        )


def requirements_of(experiment: Experiment, resolved: Sequence[Resolved]) -> Requirements:
    """Estimate what an experiment takes at the paper's scale.

    Args:
        experiment: The experiment.
        resolved: The settings of its parts.
    """
    memory, operations = 0.0, 0.0
    files: dict[str, float] = {}
    for part in resolved:
        settings = part.settings
        for place, size in _models(settings).items():
            files[place] = size.parameters * size.file_bytes
            memory = max(memory, _memory(experiment, settings, size))
            operations += 2 * size.parameters * _tokens(experiment, settings)
        for task in _tasks(settings):
            files[task] = _TASK_DISK
    if experiment.kind == "sparsity":
        memory = 0.0
    return Requirements(memory, sum(files.values()), operations / OPERATIONS_PER_SECOND / 3600)


def _models(settings: Mapping[str, Any]) -> dict[str, ModelSize]:
    if "checkpoints" in settings:
        return {
            f"{checkpoint.model}@{checkpoint.revision}": MODEL_SIZES[checkpoint.model]
            for checkpoint in settings["checkpoints"]
        }
    return {settings["model"]: MODEL_SIZES[settings["model"]]}


def _tasks(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return settings.get("icl") or ((settings["task"],) if "task" in settings else ())


def _memory(experiment: Experiment, settings: Mapping[str, Any], size: ModelSize) -> float:
    weights = 2 * size.parameters
    if experiment.kind in ("order", "outputs"):
        kept = 8 + (8 if "shen_adam" in settings["arms"] else 0)
        whole = any(arm not in _DRAWN for arm in settings["arms"])
        return weights + kept * (size.parameters if whole else size.width**2)
    if experiment.kind in ("compare", "gradients"):
        return weights + 8 * 2 * size.layers * size.width**2
    return weights


def _tokens(experiment: Experiment, settings: Mapping[str, Any]) -> float:
    """Return forward tokens of one model, a token of training counted as three."""
    seeds = len(settings.get("seeds", (0,)))
    record = [RECORD_TOKENS[task] for task in _tasks(settings)]
    if experiment.kind == "sparsity" or not record:
        return 0.0
    shots = settings.get("shots", 8)
    numbers = shots if isinstance(shots, tuple) else (shots,)
    queries = settings.get("limit") or 1000
    asked = queries * sum(record)
    in_context = sum(asked + number * sum(record) for number in numbers)
    if experiment.kind == "drift":
        return seeds * (asked + in_context)
    if experiment.kind in ("compare", "gradients"):
        runs = len(settings["recipes"])
        return seeds * (asked + in_context + runs * (asked + 3 * sum(numbers) * record[0]))
    orders = settings.get("orders", 1)
    epochs, every = settings["epochs"], settings["evaluation_epochs"]
    evaluations = math.ceil(epochs / every)
    # A drawn layer is repeated four times; below it, nothing is computed twice.
    arms = sum(4 if arm in _DRAWN else 1 for arm in settings["arms"])
    runs = arms * len(settings["learning_rates"]) * len(settings.get("batch_sizes") or (1,))
    per_run = sum(evaluations * asked + 3 * epochs * number * record[0] for number in numbers)
    return seeds * orders * (in_context + runs * per_run)
