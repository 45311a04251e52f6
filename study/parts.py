"""Studies that a study is made of: run directories of their own, which several studies may share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..text_files import in_home
from .plain_values import plain

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .study import Study

FOLDER = "studies"
"""The folder of the studies that others are made of, in a run directory or beside it."""


def study_id(analysis: str, config: BaseModel) -> str:
    """Return what tells studies apart: of equal ids, both are the same measurement.

    Args:
        analysis: The analysis's name.
        config: What is asked, before anything is loaded.
    """
    text = json.dumps([analysis, plain(config.model_dump())], sort_keys=True)
    return f"{analysis}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class StudyFolder(Mapping[str, "Study"]):
    """Studies in their run directories, by their ids; one is loaded when it is asked for."""

    def __init__(self, folder: str | Path, ids: Mapping[str, str], load: Callable[[Path], Study]) -> None:
        """Name them.

        Args:
            folder: The folder that holds their run directories.
            ids: For each name the id, which is what its run directory is called.
            load: What reads a run directory.
        """
        self.folder, self.ids, self._load = in_home(folder).absolute(), dict(ids), load

    def __getitem__(self, name: str) -> Study:
        """Load a study.

        Raises:
            KeyError: If there is none of that name.
            UserError: If its run directory cannot be read.
        """
        if name not in self.ids:
            raise KeyError(f"no study {name!r}: there are {', '.join(self.ids)}")
        return _loaded(self._load, self.folder / self.ids[name])

    def __iter__(self) -> Iterator[str]:
        """Name them."""
        return iter(self.ids)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)


# Several experiments are made of the same few studies.
@lru_cache(maxsize=32)
def _loaded(load: Callable[[Path], Any], path: Path) -> Any:
    return load(path)
