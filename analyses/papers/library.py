"""Studies that several experiments share are run once, here or in processes beside each other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...study.loading import load_study
from ...study.parts import StudyFolder
from ...study.run_directory import is_complete
from ...study.study import Study
from ...worker_processes import deaf_to_interrupts, worker_pool
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

    def run_all(
        self, requests: Sequence[Request], workers: int
    ) -> Generator[tuple[str, Exception | None], None, None]:
        """Run every study that is not there yet, and tell of each when it is.

        Args:
            requests: What is wanted, the longest first.
            workers: Processes; one runs everything here.

        Yields:
            The key of a study that was run, and what went wrong with it, if anything did.
        """
        wanted = {request.key: request for request in requests}
        missing = {key: request for key, request in wanted.items() if not self.has(key)}
        if workers <= 1 or len(missing) <= 1:
            for key, request in missing.items():
                yield (
                    key,
                    self._try(
                        key,
                        lambda request=request: run_study(
                            request.kind, request.settings, self.place(request.key)
                        ),
                    ),
                )
            return
        with worker_pool(min(workers, len(missing))) as pool:
            with deaf_to_interrupts():
                futures: dict[Future[Any], str] = {
                    pool.submit(_run_in_worker, request.kind, dict(request.settings), self.place(key)): key
                    for key, request in missing.items()
                }
            for future in as_completed(futures):
                key = futures[future]
                yield key, self._try(key, lambda future=future: _unwrap(future.result()))

    def _try(self, key: str, result: Callable[[], Study]) -> Exception | None:
        try:
            self._keep(key, result())
        except UserError as error:
            return error
        return None


def _run_in_worker(kind: Kind, settings: Mapping[str, Any], out: Path | None) -> tuple[Any, str | None]:
    """Return a study, or why there is none: exceptions of one's own do not always survive the way back."""
    try:
        study = run_study(kind, settings, out)
        return (study if out is None else None), None
    except UserError as error:
        return None, str(error)


def _unwrap(outcome: tuple[Any, str | None]) -> Any:
    study, reason = outcome
    if reason is not None:
        raise UserError(reason)
    return study
