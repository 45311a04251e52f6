"""Which files of a directory or hub repository hold a checkpoint: one file, or shards and their index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .. import json_text
from ..errors import UserError, reason_of, shown
from .pickle_file import PickledFile
from .plain_files import require_plain, unfinished_download
from .remote_files import RemoteFile, read_whole
from .safetensors_file import LFS_START, LocalFile, SafetensorsFile, lfs_pointer
from .tensor_source import TensorFile, TensorSource

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX_ENDING = ".index.json"


class Folder(Protocol):
    """Where the files of one checkpoint lie together."""

    @property
    def label(self) -> str:
        """What messages call the checkpoint."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None if there is none."""
        ...

    def open(self, name: str) -> TensorFile:
        """Open a file of tensors; a FileNotFoundError says that there is none."""
        ...

    def weight_files(self) -> tuple[str, ...]:
        """Return the names of the files in which a checkpoint's weights may be, the first choice first."""
        ...


class LocalFolder:
    """A directory on this machine.

    Attributes:
        label: What messages call the checkpoint.
    """

    def __init__(self, path: Path, label: str | None = None) -> None:
        """Take note of the path, by which the checkpoint is called unless it has another label."""
        self.label = label or str(path)
        self._path = path

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None if there is none."""
        path = self._path / name
        try:
            require_plain(path)
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {str(path)!r}: {error.strerror} (give a readable file)") from error

    def open(self, name: str) -> TensorFile:
        """Open a safetensors file or a pickle."""
        path = self._path / name
        return SafetensorsFile(LocalFile(path)) if path.suffix == ".safetensors" else PickledFile(path)

    def unfinished(self) -> str | None:
        """Return the name of a file whose download into the directory broke off."""
        return unfinished_download(self._path)

    def weight_files(self) -> tuple[str, ...]:
        """Return the usual names, and an unusual one if it is the directory's only safetensors file."""
        others = [path.name for path in self._path.glob("*.safetensors") if path.name != SAFETENSORS]
        unusual = [name for name in others if len(others) == 1 and name != "adapter_model.safetensors"]
        return (SAFETENSORS, SAFETENSORS + INDEX_ENDING, PICKLE, PICKLE + INDEX_ENDING, *unusual)


class RemoteFolder:
    """A directory on a web server or one revision of a model on a hub, read by byte range.

    Attributes:
        label: Its address, or the model's id and revision.
    """

    def __init__(self, label: str, address: Callable[[str], str], token: bool | None = None) -> None:
        """Take note of the place; nothing is requested yet.

        Args:
            label: What messages call the checkpoint.
            address: Gives the address of a file by its name.
            token: Whether to send the hub's token; None sends the saved one if there is one.
        """
        self.label = label
        self._address = address
        self._token = token

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None if there is none."""
        return read_whole(self._address(name), self._token)

    def open(self, name: str) -> TensorFile:
        """Open a safetensors file."""
        return SafetensorsFile(RemoteFile(self._address(name), self._token))

    def weight_files(self) -> tuple[str, ...]:
        """Return the names under which safetensors are published."""
        return SAFETENSORS, SAFETENSORS + INDEX_ENDING


def hub_folder(repo: str, revision: str | None, endpoint: str | None) -> RemoteFolder:
    """Return the folder of a model on a hub.

    Raises:
        UserError: If no model can have that name.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        hf_hub_url(repo, SAFETENSORS)
    except HFValidationError as error:
        raise UserError(f"{repo!r} is neither a directory here nor a hub id: {reason_of(error)}") from error
    label = f"{repo}@{revision}" if revision else repo
    endpoint = endpoint and endpoint.rstrip("/")
    return RemoteFolder(label, lambda name: hf_hub_url(repo, name, revision=revision, endpoint=endpoint))


def open_folder(folder: Folder) -> TensorSource:
    """Open the checkpoint of a folder.

    Raises:
        UserError: If the folder holds none, or it is damaged.
    """
    config = read_config(folder)
    named = (config or {}).get("transformers_weights")
    for name in (*([named] if isinstance(named, str) and _is_inside(named) else []), *folder.weight_files()):
        if name.endswith(INDEX_ENDING):
            index = folder.read(name)
            if index is not None:
                return open_shards(folder, name, index, config)
            continue
        try:
            file = folder.open(name)
        except FileNotFoundError:
            continue
        return TensorSource.of_file(folder.label, config, file)
    _refuse_unfinished(folder, "no weights")
    remote = isinstance(folder, RemoteFolder)
    pickles = ", for pickles cannot be read from afar: download it and give its directory" if remote else ""
    raise UserError(
        f"{folder.label!r} holds no weights: expected {' or '.join(folder.weight_files())}{pickles}"
    )


def open_shards(folder: Folder, name: str, index: bytes, config: dict[str, Any] | None) -> TensorSource:
    """Open a checkpoint of several files, each when one of its tensors is asked for.

    Args:
        folder: Where the shards lie.
        name: The name of the index, for messages.
        index: Its content.
        config: The checkpoint's configuration.

    Raises:
        UserError: If the index is damaged.
    """
    weight_map = parse_json(folder.label, name, index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{name} of {folder.label!r} is damaged (it maps no weights): fetch it again")
    wrong = next((tensor for tensor, shard in weight_map.items() if not isinstance(shard, str)), None)
    if wrong is not None:
        raise UserError(
            f"{name} of {folder.label!r} is damaged (it gives no file for {wrong}): fetch it again"
        )

    outside = next((shard for shard in weight_map.values() if not _is_inside(shard)), None)
    if outside is not None:
        raise UserError(
            f"{name} of {folder.label!r} names {shown(outside)}, which lies outside the checkpoint, and was not "
            "read: fetch it from whom you trust"
        )

    def open_shard(shard: str) -> TensorFile:
        try:
            return folder.open(shard)
        except FileNotFoundError as error:
            _refuse_unfinished(folder, "only some of its shards")
            raise UserError(
                f"{folder.label!r} lacks the shard {shard}, which {name} lists: fetch the checkpoint again"
            ) from error

    return TensorSource(folder.label, config, weight_map, open_shard)


def _is_inside(name: str) -> bool:
    """Return whether a file's name, wherever it is written down, stays in its folder on every system."""
    parts = name.replace("\\", "/").split("/")
    return ".." not in parts and parts[0] != "" and not parts[0].endswith(":")


def _refuse_unfinished(folder: Folder, holds: str) -> None:
    if isinstance(folder, LocalFolder) and (name := folder.unfinished()) is not None:
        raise UserError(
            f"{folder.label!r} holds {holds} beside {shown(name)}, a download that broke off: fetch it again"
        )


def read_config(folder: Folder) -> dict[str, Any] | None:
    """Return what ``config.json`` says, or None if there is none.

    Raises:
        UserError: If it is damaged.
    """
    raw = folder.read("config.json")
    return None if raw is None else parse_json(folder.label, "config.json", raw)


def cached_folder(repo: str, revision: str | None) -> LocalFolder | None:
    """Return the snapshot of a hub model in huggingface_hub's local cache, if it is there whole."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repo, "config.json", revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    path = Path(config).parent
    folder = LocalFolder(path, f"{repo}@{revision}" if revision else repo)
    for name in folder.weight_files():
        index = folder.read(name) if name.endswith(INDEX_ENDING) else None
        weight_map = parse_json(folder.label, name, index).get("weight_map", {}) if index else {}
        needed = {name, *weight_map.values()}
        if all((path / each).exists() for each in needed):
            return folder
    return None


def parse_json(label: str, name: str, raw: bytes) -> dict[str, Any]:
    """Return the content of a JSON file.

    Args:
        label: What messages call the checkpoint.
        name: The file's name, for messages.
        raw: Its bytes.

    Raises:
        UserError: If it is damaged, or no object.
    """
    if raw.startswith(LFS_START):
        raise lfs_pointer(f"{label}/{name}", "JSON")
    try:
        parsed = json_text.parse_json(raw, _special_float)
    except ValueError as error:
        raise UserError(f"{name} of {label!r} is damaged ({reason_of(error)}): fetch it again") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{name} of {label!r} is damaged (it is no JSON object): fetch it again")
    return parsed


def _special_float(found: dict[str, Any]) -> Any:
    """Return a number that JSON has no word for, which transformers writes as an object (infinity among them)."""
    tag = found.get("__float__")
    return float(tag) if len(found) == 1 and tag in ("Infinity", "-Infinity", "NaN") else found
