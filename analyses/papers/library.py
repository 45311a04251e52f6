"""Studies that several experiments share are run once, here or in processes beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...study.loading import load_study
from ...study.parts import StudyFolder
from ...study.run_directory import is_complete
from ...study.study import Study
from .declaration import Kind
from .kinds import run_study, study_key


@dataclass(frozen=True)
class Request:
    """One study that is wanted.

    Attributes:
        kind: The analysis.
        settings: What it is told.
    """

    kind: Kind
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Requests of one key have one result."""
        return study_key(self.kind, self.settings)


@dataclass
class StudyLibrary:
    """Studies by their id; what is there, in memory or in its run directory, is not run again.

    Attributes:
        folder: The folder of their run directories; None keeps them in memory alone.
        studies: Those in memory.
    """

    folder: Path | None = None
    studies: dict[str, Study] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Return whether a study is there."""
        return key in self.studies or (self.folder is not None and is_complete(self.folder / key))

    def get(self, request: Request) -> Study:
        """Return a study, and run it if it is not there yet."""
        key = request.key
        if not self.has(key):
            self._keep(key, run_study(request.kind, request.settings, self.place(key)))
        return self.studies[key] if key in self.studies else load_study(self.place(key) or key)

    def of(self, requests: Mapping[str, Request]) -> Mapping[str, Study]:
        """Return studies by the names of requests, and run what is not there yet.

        Args:
            requests: What is wanted.
        """
        found = {name: self.get(request) for name, request in requests.items()}
        if self.folder is None:
            return found
        return StudyFolder(self.folder, {name: request.key for name, request in requests.items()}, load_study)

    def place(self, key: str) -> Path | None:
        """Return the run directory of a study, if studies have any."""
        return None if self.folder is None else self.folder / key

    def _keep(self, key: str, study: Study) -> None:
        # One that lies in a run directory is read from there.
        if self.folder is None:
            self.studies[key] = study
