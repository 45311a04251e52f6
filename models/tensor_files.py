"""Opening the tensors of a checkpoint wherever it is: a live model, a directory, a file, the hub, an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..addresses import public
from ..errors import UserError
from ..text_files import exists, in_home
from .checkpoint_folder import (
    INDEX_ENDING,
    LocalFolder,
    RemoteFolder,
    cached_folder,
    hub_folder,
    open_folder,
    open_shards,
    read_config,
)
from .exclusive_use import exclusive
from .gguf_file import is_gguf
from .live_adapter import acting_tensors
from .live_module import running_module
from .loading import LanguageModel, load_model
from .model_place import place_of
from .plain_files import refuse_other_than_files
from .tensor_source import StoredTensor, TensorSource

__all__ = ["Place", "StoredTensor", "TensorSource", "open_tensors"]

Place = str | Path | LanguageModel | torch.nn.Module

_FILE_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def open_tensors(place: Place, *, revision: str | None = None, endpoint: str | None = None) -> TensorSource:
    """Open the tensors of a checkpoint without building a model or fetching more than is read.

    Args:
        place: A live model, whose tensors are not copied unless an adapter acts on them; a GGUF file, which is
            dequantised whole, as the model that transformers makes of it; a directory with
            ``model.safetensors``, shards and their index, or pickles; one ``.safetensors``, ``.bin`` or ``.pt``
            file, or an index; ``pocket``; a hub id; or the address of a safetensors file. A ``config.json`` beside
            a file counts as its own. What the hub's local cache holds whole is read there, anything else of the
            hub by byte range.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        endpoint: The hub's address, by default huggingface_hub's (``HF_ENDPOINT``).

    Raises:
        UserError: If there is no such checkpoint, or it cannot be read.
    """
    if isinstance(place, LanguageModel):
        place = place.module
    if isinstance(place, torch.nn.Module):
        return _open_module(place)
    name = str(place)
    if name.startswith(("http://", "https://")):
        _refuse_revision(name, revision)
        return _open_address(name)
    found, hub_revision = place_of(name, revision)
    path = in_home(found)
    if is_gguf(path):
        _refuse_revision(name, hub_revision)
        return _open_module(load_model(path).module)
    if exists(path):
        refuse_other_than_files(path)
        _refuse_revision(name, hub_revision)
        label = f"{name}@{revision}" if revision else name
        return open_folder(LocalFolder(path, label)) if path.is_dir() else _open_path(path)
    if not _HUB_ID.fullmatch(name):
        raise UserError(f"there is no {name!r}: give a directory, a weights file, a hub id or an address")
    return open_folder(cached_folder(name, revision) or hub_folder(name, revision, endpoint))


class _ModuleTensors:
    """The tensors of a live module as they act, by the names they have without adapters."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        with exclusive(module, "reading its weights"):
            self._tensors = acting_tensors(module)
        self.stored: Mapping[str, StoredTensor] = MappingProxyType(
            {name: StoredTensor(tensor.shape, tensor.dtype) for name, tensor in self._tensors.items()}
        )

    def read(self, name: str) -> Tensor:
        # Detached here: finetuning swaps what a parameter points to, and what was read must stay the model's own.
        with exclusive(self._module, "reading its weights"):
            tensor = self._tensors[name].read().detach()
        if tensor.is_meta:
            raise UserError(
                f"{name} of the live model is offloaded: give the directory or hub id it was loaded from"
            )
        return tensor

    def close(self) -> None:
        self._tensors = {}


def _open_module(module: torch.nn.Module) -> TensorSource:
    module = running_module(module)
    config: Any = getattr(module, "config", None)
    label = getattr(config, "name_or_path", "") or type(module).__name__
    return TensorSource.of_file(label, config, _ModuleTensors(module))


def _open_path(path: Path) -> TensorSource:
    folder = LocalFolder(path.parent)
    if path.name.endswith(INDEX_ENDING):
        return open_shards(folder, path.name, folder.read(path.name) or b"", read_config(folder))
    if not path.name.endswith(_FILE_ENDINGS):
        raise UserError(
            f"{str(path)!r} is no file of weights: give one that ends in {', '.join(_FILE_ENDINGS)}"
        )
    return TensorSource.of_file(str(path), read_config(folder), folder.open(path.name))


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise UserError(f"{name!r} has no revisions, but {revision!r} was asked for: leave the revision out")


def _open_address(url: str) -> TensorSource:
    from huggingface_hub import constants

    # A signed address holds for one file only: nothing can be asked for beside it.
    path, mark, query = url.partition("?")
    if is_gguf(path):
        raise UserError(f"a GGUF file is not read from afar: download {url!r} and give its path")
    base, _, name = path.rpartition("/")
    if not name.endswith((".safetensors", INDEX_ENDING)):
        base, name = path.rstrip("/"), ""
    token = None if url.startswith(f"{constants.ENDPOINT}/") else False
    folder = RemoteFolder(public(url), lambda file: f"{base}/{file}{mark}{query}", token)
    if not name:
        return open_folder(folder)
    config = None if query else read_config(folder)
    if name.endswith(INDEX_ENDING):
        index = folder.read(name)
        if index is not None:
            return open_shards(folder, name, index, config)
    else:
        with suppress(FileNotFoundError):
            return TensorSource.of_file(folder.label, config, folder.open(name))
    raise UserError(f"there is no file at {url!r}: check the address")
