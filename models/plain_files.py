"""Only plain files of a checkpoint's folder are opened: a pipe, a device or a link to nothing never is."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import UserError, shown
from ..text_files import exists, is_folder

# What libraries open by its name, in a model's folder or an adapter's.
_ENDINGS = (
    *(".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf"),
    *(".model", ".txt", ".jinja", ".tiktoken"),
)
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download")


def refuse_other_than_files(place: Path) -> None:
    """Refuse a folder in which something that is no file stands where a file of a model belongs, unopened.

    Links to files pass, as the hub's cache is made of them. What is not there is not this function's business.

    Args:
        place: A directory of a model, tokenizer or adapter, or one file.

    Raises:
        UserError: If there is a directory, a pipe, a device or a link to nothing.
    """
    if is_folder(place):
        for path in sorted(place.iterdir()):
            if path.name.endswith(_ENDINGS):
                require_plain(path)
    elif exists(place):
        require_plain(place)


def require_plain(path: Path) -> None:
    """Refuse what is no plain file, without opening it.

    Raises:
        FileNotFoundError: If there is nothing of that name, not even a link.
        UserError: If there is something else.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(
                f"{str(path)!r} is a link to nothing: fetch the file that it stands for"
            ) from None
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(str(path))} cannot be read ({reason(error)}): fetch it again") from error
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{str(path)!r} is {_kind(mode)} and was not opened: put the file of that name in its place"
        )


def reason(error: OSError | ValueError) -> str:
    """Return what a system says of a file, without the path that a message names already."""
    return getattr(error, "strerror", None) or str(error)


def unfinished_download(folder: Path) -> str | None:
    """Return the name of a file whose download into a folder, or into a cache inside it, broke off."""
    kept = folder / ".cache" / "huggingface" / "download"
    found = [path.name for place in (folder, kept) if place.is_dir() for path in place.iterdir()]
    return next((name for name in sorted(found) if name.endswith(_UNFINISHED)), None)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
