"""Run directories: complete or not there at all.

Everything is written into a hidden folder beside the target, which is renamed to the target at the end. A run that
was killed leaves the hidden folder behind, which the next run of that name removes, and never something that looks
complete.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..addresses import public
from ..errors import UserError, shown
from ..text_files import in_home
from ..unfinished import replaced_place, require_on_disk, unfinished_place

MANIFEST = "manifest.json"
"""The file that marks a run directory as complete; it is written last."""

_LONGEST_NAME = 100
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SUCH_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT)


@contextmanager
def run_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write into that becomes `path` when the block ends well, and disappears otherwise.

    Args:
        path: The run directory to be. It may exist if it is empty.
        overwrite: Replace a complete run directory; the old one stays until the new one is complete.

    Yields:
        A fresh folder beside `path`.

    Raises:
        UserError: If `path` is an address or holds something that may not be replaced, or the disk is full or not
            writable.
    """
    if "\0" in str(path):
        raise UserError(f"{shown(str(path))} holds a NUL character, which no name can: choose another --out")
    require_on_disk(path)
    target = in_home(path).absolute()
    with told_if_unwritable(target):
        target = target.resolve() if target.is_symlink() else target
    _require_free(target, overwrite)
    with ExitStack() as stack:
        with told_if_unwritable(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            working = stack.enter_context(unfinished_place(target))
            # A target that a killed run was replacing is back now.
            _require_free(target, overwrite)
            working.mkdir()
        with told_if_unwritable(target, within=working):
            yield working
            _require_free(target, overwrite)
            _move(working, target)


def is_complete(path: str | Path) -> bool:
    """Return whether a folder is a run directory that was finished."""
    try:
        manifest = json.loads((Path(path) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("complete") is True


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Mark a run directory as complete; call this after everything else is written.

    Args:
        folder: The run directory.
        content: Where the results came from.
    """
    files = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = {**content, "files": files, "complete": True}
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def free_run_name(*parts: str, parent: str | Path = "runs") -> str:
    """Return a name for a run directory made of parts, with -2, -3 … where it is taken in `parent`.

    Args:
        parts: What was run, such as ``compare``, the model and the task; a path gives its last name.
        parent: Where the run directory will be.
    """
    names = [_safe(public(part).rstrip("/").rsplit("/", 1)[-1])[:_LONGEST_NAME] for part in parts]
    name = "-".join(part for part in names if part)
    copy, free = 2, name
    while (Path(parent) / free).exists():
        copy, free = copy + 1, f"{name}-{copy}"
    return free


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")


def _require_free(target: Path, overwrite: bool) -> None:
    """Refuse a target that holds anything but a complete run directory that may be replaced."""
    with told_if_unwritable(target):
        if not target.exists():
            return
        if not target.is_dir():
            raise UserError(f"{shown(target)} is a file: choose another --out for the run directory")
        if not any(target.iterdir()):
            return
    if not is_complete(target):
        raise UserError(
            f"{shown(target)} is not empty and no finished run directory (it has no complete {MANIFEST}): "
            "choose another --out, or look into it and remove it yourself"
        )
    if not overwrite:
        raise UserError(
            f"{shown(target)} holds a finished run: choose another --out, or replace it with --overwrite"
        )


def _move(working: Path, target: Path) -> None:
    """Put the finished folder in the target's place; an old one goes only when the new one is there."""
    if target.exists() and not any(target.iterdir()):
        target.rmdir()
    if not target.exists():
        working.rename(target)
        return
    replaced = replaced_place(working)
    target.rename(replaced)
    try:
        working.rename(target)
    except BaseException:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


class CannotWrite(UserError):
    """A result cannot be written where it should: the disk is full, or nothing may be written there."""


@contextmanager
def told_if_unwritable(target: Path, within: Path | None = None) -> Iterator[None]:
    """Turn a full disk and missing permissions into one sentence; other errors pass.

    Args:
        target: The run directory.
        within: The folder that is written to; errors of files elsewhere, but for a full disk, are not about the
            run directory.

    Raises:
        CannotWrite: If that is what went wrong.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = _sentence(error, target, within)
        if sentence is None:
            raise
        raise CannotWrite(sentence) from error


def _sentence(error: Exception, target: Path, within: Path | None) -> str | None:
    number = _error_number(error)
    named = getattr(error, "filename", None)
    ours = within is None or (named is not None and Path(str(named)).is_relative_to(within))
    place = str(named) if named is not None and not ours else str(target)
    if number in _NO_SPACE:
        return (
            f"cannot write {place!r}: the disk is full or a limit on file sizes is reached; free some space or "
            "choose another --out"
        )
    if number in _NOT_ALLOWED and ours:
        return f"cannot write {place!r}: it is not permitted there; choose another --out"
    if number in _NO_SUCH_PLACE and within is None:
        return f"cannot make {place!r}: no folder can be there; choose another --out"
    return None


def _error_number(error: Exception) -> int | None:
    """Return the operating system's number of an error; safetensors only says it in words."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said.group(1)) if said else None
