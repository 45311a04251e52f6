"""The tensors of one checkpoint, wherever they are stored: listed at once, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..errors import UserError, shown

if TYPE_CHECKING:
    from transformers import PretrainedConfig


LONGEST_NAME = 80


def told(name: str) -> str:
    """Return a tensor's or a file's name as messages write it: as it is, unless it is empty or very long."""
    return name if 0 < len(name) <= LONGEST_NAME else shown(name)


@dataclass(frozen=True)
class StoredTensor:
    """What is known of a tensor before it is read.

    Attributes:
        shape: Its shape as stored.
        dtype: Its dtype, or the file format's own word for one that torch does not have.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | str


class TensorFile(Protocol):
    """One file of tensors, or whatever reads like one."""

    @property
    def stored(self) -> Mapping[str, StoredTensor]:
        """Every tensor of the file by its name."""
        ...

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class TensorSource:
    """The tensors of one checkpoint by name; a context that closes its files.

    Files are opened when one of their tensors is first asked for, so a checkpoint of many shards costs what
    is read of it.

    Attributes:
        label: What messages call the checkpoint.
        config: What its ``config.json`` says, a live model's own configuration, or None without either.
        names: The names of all tensors.
    """

    def __init__(
        self,
        label: str,
        config: dict[str, Any] | PretrainedConfig | None,
        file_names: Mapping[str, str],
        open_file: Callable[[str], TensorFile],
    ) -> None:
        """Take note of which file holds which tensor.

        Args:
            label: What messages call the checkpoint.
            config: Its configuration.
            file_names: For each tensor the name of its file.
            open_file: Opens a file by name.
        """
        self.label = label
        self.config = config
        self.names = tuple(file_names)
        self._file_names = file_names
        self._open_file = open_file
        self._files: dict[str, TensorFile] = {}

    @classmethod
    def of_file(
        cls, label: str, config: dict[str, Any] | PretrainedConfig | None, file: TensorFile
    ) -> TensorSource:
        """Return the source that is one open file."""
        source = cls(label, config, dict.fromkeys(file.stored, label), lambda _: file)
        source._files[label] = file
        return source

    def stored(self, name: str) -> StoredTensor:
        """Return shape and dtype of a tensor without reading it.

        Raises:
            UserError: If there is no such tensor, or its file is missing or damaged.
        """
        return self._file(name).stored[name]

    def read(self, name: str) -> Tensor:
        """Read a tensor, on the CPU, in the dtype it is stored in (a live model's: itself, where it is).

        Raises:
            UserError: If there is no such tensor, or its file is missing or damaged.
        """
        return self._file(name).read(name)

    def close(self) -> None:
        """Close every open file."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> TensorSource:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every open file."""
        self.close()

    def _file(self, name: str) -> TensorFile:
        if name not in self._file_names:
            raise UserError(
                f"{self.label!r} has no tensor {name!r}: see what it has with open_tensors(…).names"
            )
        file_name = self._file_names[name]
        if file_name not in self._files:
            file = self._open_file(file_name)
            self._files[file_name] = file
            elsewhere = next(
                (each for each in file.stored if self._file_names.get(each, file_name) != file_name), None
            )
            if elsewhere is not None:
                raise UserError(
                    f"{told(file_name)} of {self.label!r} holds {told(elsewhere)}, which its index finds in "
                    f"{told(self._file_names[elsewhere])}: index and files are not of one checkpoint, so fetch it "
                    "again"
                )
        file = self._files[file_name]
        if name not in file.stored:
            raise UserError(
                f"the index of {self.label!r} says that {told(file_name)} holds {told(name)}, which it does not: "
                "index and files are not of one checkpoint, so fetch it again"
            )
        return file
