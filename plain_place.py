"""A file below a folder, reached without any link: what may be shown of a folder to whoever asks."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError, shown
from .text_files import is_file


def plain_file(folder: Path, name: str) -> Path:
    """Return a regular file below a folder.

    Args:
        folder: The folder, resolved.
        name: The file from there, with forward slashes.

    Raises:
        UserError: If there is none, a link leads to it, or it is hidden.
    """
    parts = name.split("/")
    plain = all(part and part[0] != "." and "\\" not in part and "\0" not in part for part in parts)
    path = folder.joinpath(*parts) if plain else folder
    # A link anywhere on the way resolves to another path.
    if not plain or not is_file(path) or path.resolve() != path:
        raise UserError(f"there is no file {shown(name)} here")
    return path
