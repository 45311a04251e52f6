"""What libraries raise while a model or tokenizer is loaded, told in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

from ..errors import UserError, lacks_memory, reason_of
from .checkpoint_folder import INDEX_ENDING, LocalFolder, open_folder, parse_json, read_config
from .gguf_file import is_gguf
from .safetensors_file import LFS_START, lfs_pointer
from .whole_checkpoint import local_folder, refuse_gaps

What = Literal["model", "tokenizer"]

_SMALL_FILES: dict[What, tuple[str, ...]] = {
    "model": ("config.json", "generation_config.json"),
    "tokenizer": (
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "tokenizer.model", "spiece.model"),
    ),
}


@contextmanager
def told_in_one_sentence(what: What, place: str, revision: str | None = None) -> Iterator[None]:
    """Turn whatever is raised inside into a `UserError`.

    Libraries raise anything on damaged files (pickles can fail in every way, and the tokenizers library raises bare
    exceptions), so all of it is caught; files that lie here are then looked at, since what is wrong with
    them says more than what was raised.

    Args:
        what: What is being loaded.
        place: Where from.
        revision: The revision asked for.

    Raises:
        UserError: If anything was raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        folder = local_folder(place, revision)
        if folder is not None:
            _look_for_damage(what, folder)
        raise UserError(_sentence(what, place, revision, error, folder)) from error


def _look_for_damage(what: What, folder: LocalFolder) -> None:
    """Name the file that is damaged, is a pointer to another, or does not go with the others.

    Raises:
        UserError: If there is one.
    """
    for name in _SMALL_FILES[what]:
        raw = folder.read(name)
        if raw is None:
            continue
        if raw.startswith(LFS_START):
            raise lfs_pointer(f"{folder.label}/{name}", what)
        if name.endswith(".json"):
            parse_json(folder.label, name, raw)
    if what == "model":
        with open_folder(folder) as source:
            for name in source.names:
                source.stored(name)
            refuse_gaps(source.label, source.names)
        for name in folder.weight_files():
            index = folder.read(name) if name.endswith(INDEX_ENDING) else None
            if index is not None and not isinstance(
                parse_json(folder.label, name, index).get("metadata"), dict
            ):
                raise UserError(
                    f'{name} of {folder.label!r} has no "metadata", which transformers reads: add "metadata": {{}}'
                )


def _sentence(
    what: What, place: str, revision: str | None, error: Exception, folder: LocalFolder | None
) -> str:
    at = f" at revision {revision!r}" if revision else ""
    reason, step = (
        _reason(what, error, folder),
        "correct its config.json or what was asked for, or fetch it again",
    )
    if lacks_memory(error):
        reason = "there is not enough memory for it"
        step = "take a smaller dtype or model, or another device"
    elif isinstance(error, ImportError):
        step = "install what is missing"
    elif is_gguf(place):
        step = "fetch it again, or give the model's safetensors"
    elif folder is None:
        step = "give a local directory or a hub id"
    elif what == "tokenizer":
        step = "upgrade tokenizers, or give another with tokenizer=… (--tokenizer)"
    return f"cannot load {what} {place!r}{at}: {reason} ({step})"


def _reason(what: What, error: Exception, folder: LocalFolder | None) -> str:
    if isinstance(error, KeyError):
        return _unknown_setting(error, folder)
    if what == "tokenizer" and type(error) is Exception:
        # What the tokenizers library raises on a file that it cannot parse.
        known = version("tokenizers")
        return f"its tokenizer.json is of a format unknown to tokenizers {known} ({reason_of(error, 50)})"
    reason = reason_of(error, 120)
    if reason.startswith("Weights only load failed"):
        return "its pickle holds more than weights"
    return reason if " " in reason else f"{type(error).__name__} {reason}"


def _unknown_setting(error: KeyError, folder: LocalFolder | None) -> str:
    """Say which entry of ``config.json`` has the value that a library's table does not have."""
    key = str(error.args[0]) if error.args else ""
    for name, value in _settings(read_config(folder) if folder is not None else None):
        if value and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", key):
            return f"transformers {version('transformers')} knows no {name} {value!r}"
    return reason_of(error) if " " in key else f"it has no {key!r}"


def _settings(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _settings(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, str):
        yield path, config
