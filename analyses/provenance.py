"""Where results came from: versions, machine, and hashes of weights and data."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..models.loading import LanguageModel
from ..tasks.task import Task
from .configuration import SubjectConfig

_PACKAGES = ("iclprobe", "torch", "transformers", "numpy", "safetensors", "tokenizers")
_GIT_SECONDS = 5


def provenance(
    model: LanguageModel,
    task: Task,
    config: SubjectConfig,
    captures_manifest: Mapping[str, Any] | None = None,
    *,
    self_check: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Return everything that is needed to tell whether two results may be compared; JSON holds it.

    Args:
        model: The model, with the weights it was loaded with.
        task: The records.
        config: What was asked.
        captures_manifest: The manifest of a capture: score space, dtype, attention implementation, prompts.
        self_check: What the self-check found, if it ran.
        seconds: How long the run took.
    """
    return {
        **surroundings(model.device, seconds),
        "model": {
            "name": model.name,
            "revision": model.revision,
            "adapter": model.adapter,
            "dequantised": model.dequantised,
            "family": model.family.label,
            "dtype": str(model.dtype).removeprefix("torch."),
            "attention_implementation": model.attention_implementation,
            "layers": model.n_layers,
            "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
            "weights_sha256": weights_sha256(model.module),
        },
        "data": {
            "task": task.name,
            "source": task.source,
            "notes": list(task.notes),
            "train_records": len(task.train),
            "validation_records": len(task.validation),
            "records_sha256": task.digest(),
        },
        "seeds": list(config.seeds),
        "captures": dict(captures_manifest or {}),
        "self_check": None if self_check is None else dict(self_check),
    }


def surroundings(device: torch.device | str, seconds: float | None = None) -> dict[str, Any]:
    """Return what a result owes to where it was made: versions, machine, device, git, date and duration.

    Args:
        device: Where tensors were.
        seconds: How long the run took.
    """
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "device": _device_name(torch.device(device)),
        "git": git_state(),
        "date_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": None if seconds is None else round(seconds, 3),
    }


def weights_sha256(module: torch.nn.Module) -> str | None:
    """Return the SHA-256 (hex) of every parameter's name, dtype, shape and bytes, in the order of names.

    One parameter at a time is brought to main memory. Parameters that are offloaded, and so have no bytes in the
    module, make it None.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if parameter.is_meta:
            return None
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        values = parameter.detach().to("cpu").contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def git_state(folder: str | Path = ".") -> dict[str, Any] | None:
    """Return the commit a folder is at and whether it has changes; None outside of any repository.

    Args:
        folder: A folder, by default the current one.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    status = _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: str | Path, *arguments: str) -> str | None:
    """Return what git says, or None where it says nothing: no git, no repository, too slow."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str | None]:
    return {package: _version(package) for package in _PACKAGES}


@cache  # Reading it takes milliseconds, and what a process has imported stays what it is.
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
