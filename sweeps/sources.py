"""What determines a cell's result beside its configuration: the bytes of what that names."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..analyses.configuration import SubjectConfig
from ..analyses.subject import load_records
from ..errors import UserError, shown
from ..models.pocket import POCKET_MODELS, pocket_path
from ..settings import Settings
from ..study.plain_values import plain
from ..text_files import exists
from .hash_file import FileKey

# What stands there is no place, though a file may be called so.
_TEXTS = {
    "task",
    "template",
    "separator",
    "label_words",
    "columns",
    "chat_template",
    "dtype",
    "device",
    "analysis",
}
# What a trainer leaves beside weights, and no result depends on.
_LEFT_BY_TRAINERS = re.compile(r"(optimizer|scheduler|rng_state|scaler|training_args|trainer_state).*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_OF_THE_HUB = {"model", "models", "adapter", "tokenizer", "finetuned", "checkpoints", "repo"}


@dataclass
class Sources:
    """Hashes of files, folders and records; a file that has not changed since is hashed once.

    Attributes:
        files: Of each file by its path, with the size and the times of its last changes: its hash.
        records: Of each task by what it is loaded by: its hash.
    """

    files: dict[FileKey, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    _commits: dict[tuple[str, str | None], str | None] = field(default_factory=dict)

    def of(self, config: Settings) -> dict[str, str]:
        """Return the hash of each thing that a configuration names, by the name.

        Raises:
            UserError: If the records of its task cannot be loaded.
        """
        found: dict[str, str] = {}
        for key, text, revision in _texts(plain(config.model_dump())):
            digest = self._of_text(key, text, revision)
            if digest is not None:
                found[text if revision is None or exists(text) else f"{text}@{revision}"] = digest
        if isinstance(config, SubjectConfig) and config.data is None:
            found[f"task {config.task}"] = self._of_task(config)
        return dict(sorted(found.items()))

    def _of_text(self, key: str, text: str, revision: str | None) -> str | None:
        if exists(text):
            return self._of_path(Path(text))
        if text in POCKET_MODELS:
            step = int(revision) if revision is not None and revision.isdecimal() else None
            return self._of_path(pocket_path(text, step))
        if is_pattern(text):
            paths = [Path(path) for path in sorted(glob.glob(text))]  # noqa: PTH207 - it may be absolute
            top = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
            return (
                _joined(f"{_within(path, top)}\n{self._of_path(path)}\n" for path in paths) if paths else None
            )
        if key not in _OF_THE_HUB:
            return None
        name, at, named = text.rpartition("@")
        if at and revision is None:
            return self._of_text(key, name, named)
        return self._commit(text, revision) if _HUB_NAME.fullmatch(text) else None

    def _of_path(self, path: Path) -> str:
        """Return the hash of a file, or of a folder's files and their names; hidden ones are left out."""
        if path.is_file():
            return self._of_file(path)
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file()
            and not _LEFT_BY_TRAINERS.fullmatch(file.name)
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        return _joined(f"{_within(file, path)}\n{self._of_file(file)}\n" for file in files)

    def _of_file(self, file: Path) -> str:
        try:
            found = file.stat()
            # A copy may keep the time of a file's last change, but not that of its own.
            key = (os.fspath(file.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if key not in self.files:
                with file.open("rb") as opened:
                    self.files[key] = hashlib.file_digest(opened, "sha256").hexdigest()
            return self.files[key]
        except OSError as error:
            raise UserError(
                f"Cannot read {shown(file)} ({error.strerror or error}): check the path."
            ) from error

    def _of_task(self, config: SubjectConfig) -> str:
        names = ("task", "template", "label_words", "columns", "separator", "quoting", "chat_template")
        key = repr([getattr(config, name) for name in names])
        if key not in self.records:
            with warnings.catch_warnings():
                # They are said when the cells run.
                warnings.simplefilter("ignore")
                self.records[key] = load_records(config).task.digest()
        return self.records[key]

    def _commit(self, repo: str, revision: str | None) -> str | None:
        """Return the commit that a revision of a model on the hub is at, as the hub or its local cache says."""
        if (repo, revision) not in self._commits:
            self._commits[repo, revision] = _commit_on_hub(repo, revision)
        return self._commits[repo, revision]


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern of files' names."""
    return any(sign in text for sign in "*?[")


def _within(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix()


def _commit_on_hub(repo: str, revision: str | None) -> str | None:
    from httpx import HTTPError
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError

    if not HF_HUB_OFFLINE:
        try:
            return HfApi().model_info(repo, revision=revision, timeout=10).sha
        except (HTTPError, OSError, ValueError):
            # Not there, or out of reach: what is in the cache is what will be loaded.
            pass
    try:
        cached = try_to_load_from_cache(repo, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def _texts(value: Any, key: str = "", revision: Any = None) -> Iterator[tuple[str, str, str | None]]:
    """Yield every text of plain values that may be a place, with its field and the revision that stands beside it."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if name not in _TEXTS and name != "revision":
                beside = value.get("revision") if name == "model" else None
                yield from _texts(entry, name if name in _OF_THE_HUB else key, beside)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, key)
    elif isinstance(value, str) and value:
        yield key, value, None if revision is None else str(revision)


def _joined(parts: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()
