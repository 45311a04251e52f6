"""Heavy arrays of a study, beside its tables in safetensors, and read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, reason_of, shown

if TYPE_CHECKING:
    import numpy as np

Arrays = Mapping[str, "Mapping[str, np.ndarray]"]
"""Groups of arrays by name, and in each its arrays by name."""

FOLDER = "arrays"


@dataclass(frozen=True)
class ArrayFiles(Mapping[str, "Mapping[str, np.ndarray]"]):
    """The groups of arrays in a run directory; a group is read whenever it is asked for.

    Attributes:
        folder: The folder that holds them.
    """

    folder: Path

    def __getitem__(self, name: str) -> Mapping[str, np.ndarray]:
        """Read a group.

        Raises:
            KeyError: If there is none.
            UserError: If its file cannot be read.
        """
        from safetensors.numpy import load_file

        if name not in list(self):
            raise KeyError(f"no arrays {name!r}: there are {', '.join(self)}")
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path)
        except Exception as error:
            # safetensors raises errors of its own class, which says no more than its text.
            raise UserError(f"{shown(path)} cannot be read ({reason_of(error)}): run it again") from error

    def __iter__(self) -> Iterator[str]:
        """Name the groups."""
        return iter(sorted(path.stem for path in self.folder.glob("*.safetensors")))

    def __len__(self) -> int:
        """Return how many groups there are."""
        return sum(1 for _ in self.folder.glob("*.safetensors"))


def write_arrays(folder: Path, arrays: Arrays) -> None:
    """Write every group of arrays into a run directory.

    Args:
        folder: The run directory.
        arrays: The groups.
    """
    import numpy as np
    from safetensors.numpy import save_file

    for name in arrays:
        (folder / FOLDER).mkdir(exist_ok=True)
        # safetensors writes memory as it lies, and a transposed view lies otherwise than it is read.
        rows = {each: np.ascontiguousarray(values) for each, values in arrays[name].items()}
        save_file(rows, folder / FOLDER / f"{name}.safetensors")
