"""Where a model of a name lies: an embedded one in the package, any other where the name says."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, shown
from ..text_files import exists, is_folder
from .gguf_file import ENDING, is_gguf, no_gguf
from .plain_files import refuse_other_than_files

# Digits of a training step; of more Python makes no number.
_MOST_DIGITS = 15


def place_of(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return where an embedded model lies, and any other name and revision as they are.

    Raises:
        UserError: If there is no such embedded model, step or GGUF file, or what lies there is no plain file.
    """
    from .pocket import POCKET_MODELS, pocket_path

    if name in POCKET_MODELS and not exists(name):
        if revision is not None and not (revision.isdecimal() and len(revision) <= _MOST_DIGITS):
            raise UserError(
                f"revision {shown(revision)} of {name!r} is no training step: give a number, see its card"
            )
        return str(pocket_path(name, None if revision is None else int(revision))), None
    if is_gguf(name) and not exists(name):
        raise no_gguf(name)
    refuse_other_than_files(Path(name))
    if is_folder(name) and not exists(Path(name) / "config.json"):
        _refuse_folder_of_gguf(Path(name))
    return name, revision


def _refuse_folder_of_gguf(folder: Path) -> None:
    held = sorted(path.name for path in folder.glob(f"*{ENDING}"))
    if held:
        raise UserError(
            f"{shown(folder)} is a folder of GGUF files: give one of them, such as {shown(held[0])}"
        )
