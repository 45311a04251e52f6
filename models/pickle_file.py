"""Reading tensors out of one pickled checkpoint, as weights and nothing else."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, reason_of
from .plain_files import require_plain
from .safetensors_file import LFS_START, lfs_pointer
from .tensor_source import StoredTensor, told
from .wrapper_prefixes import unwrapped

# What training code calls the weights of the model it trains, among optimizers, counters and averages.
_MODEL_NAMES = frozenset(
    {
        *("state_dict", "model_state_dict", "model", "model_state", "module", "state"),
        *("net", "network", "weights", "params", "parameters"),
    }
)
_DEEPEST = 4


class PickledFile:
    """One ``.bin`` or ``.pt`` file, mapped into memory; code in it does not run.

    Attributes:
        stored: Every tensor of the file by its name.
    """

    def __init__(self, path: Path) -> None:
        """Open the file with ``torch.load(weights_only=True)``.

        Weights that are kept in a mapping inside the file, beside optimizer, counters and losses, are found there.

        Raises:
            FileNotFoundError: If there is none.
            UserError: If it is damaged, holds anything but weights, or holds the weights of several models.
        """
        require_plain(path)
        self._tensors = _weights_of(_load(path), str(path))
        if not self._tensors:
            raise UserError(f"{str(path)!r} holds no tensors by name: give a state dict")
        for name, tensor in self._tensors.items():
            if tensor.is_meta or tensor.layout is not torch.strided:
                form = "without its numbers" if tensor.is_meta else "sparse"
                raise UserError(
                    f"{told(name)} of {str(path)!r} is stored {form}: save the whole state dict, dense"
                )
        self.stored: Mapping[str, StoredTensor] = MappingProxyType(
            {name: StoredTensor(tuple(tensor.shape), tensor.dtype) for name, tensor in self._tensors.items()}
        )

    def read(self, name: str) -> Tensor:
        """Return one tensor, whose bytes are read when they are used."""
        return self._tensors[name]

    def close(self) -> None:
        """Let go of the file."""
        self._tensors = {}


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            pointer = file.read(len(LFS_START)) == LFS_START
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror} (give a readable file)") from error
    if pointer:
        raise lfs_pointer(str(path))
    try:
        # Files of torch before 1.6 are no archives and cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # A damaged pickle is a damaged program: unpickling it can fail in any way.
        raise UserError(
            f"cannot read {str(path)!r} as pickled weights ({_reason(error)}): it is damaged, truncated or "
            "holds more than weights: fetch it again, or save it with safetensors"
        ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked:
        return f"it asks for {asked[1]}"
    # What torch advises then is to let code in it run.
    if "weights_only" in text or text.startswith("Weights only load failed"):
        return "it is no pickle of weights"
    return reason_of(error, 70).split(". ")[0]


def _weights_of(loaded: Any, label: str) -> dict[str, Tensor]:
    """Return the one mapping of weights in what was unpickled, or what tensors it has by name.

    Raises:
        UserError: If there are several and no name tells which is the model's.
    """
    if not isinstance(loaded, Mapping):
        return {}
    found = dict(_mappings_of_weights(loaded, ()))
    if not found:
        return _named_tensors(loaded)
    named = [path for path in found if _MODEL_NAMES.issuperset(path)]
    chosen = next(iter(found)) if len(found) == 1 else named[0] if len(named) == 1 else None
    if chosen is not None and not any(
        _share_a_name(found[chosen], found[path]) for path in found if path != chosen
    ):
        return found[chosen]
    places = [".".join(path) or "the top" for path in found]
    raise UserError(
        f"{label!r} holds {len(found)} mappings of weights, at {', '.join(places[:3])}"
        f"{', …' if len(places) > 3 else ''}: save the one that is meant by itself, as a state dict"
    )


def _mappings_of_weights(
    loaded: Mapping[Any, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Find the mappings from names of a model's parts to tensors, each with the keys that lead to it.

    Losses, random states and an optimizer's moments have names without a dot in them; what a well-known key
    holds counts whatever the names.
    """
    tensors = _named_tensors(loaded)
    if any("." in name for name in tensors) or (tensors and path and _MODEL_NAMES.issuperset(path)):
        yield path, tensors
    if len(path) < _DEEPEST:
        for key, value in loaded.items():
            if isinstance(value, Mapping):
                yield from _mappings_of_weights(value, (*path, str(key)))


def _named_tensors(loaded: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value.detach()
        for name, value in loaded.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _share_a_name(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return not {unwrapped(name) for name in one}.isdisjoint(unwrapped(name) for name in other)
