"""Training steps read off the names of checkpoints: only off names that say that a number is one."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000}
# Not a number that goes on: of a size such as 7B, a version such as 1.5, a word.
_AMOUNT = r"(?P<number>\d{1,15}(?:\.\d{1,15}(?=[km]))?)(?P<unit>[km]?)(?![a-z\d])(?![.,]\d)(?!_\d{3}(?!\d))"
_STEPS = (
    re.compile(rf"(?<![a-z])(?:global[-_]?)?steps?[-_=]?{_AMOUNT}", re.IGNORECASE),
    re.compile(rf"(?<![a-z])iter(?:ation)?[-_=]{_AMOUNT}", re.IGNORECASE),
    # Not the first number of a date, or of an epoch and its updates.
    re.compile(rf"(?<![a-z])checkpoint-{_AMOUNT}(?![-_]\d)", re.IGNORECASE),
)
# What counts other steps than those that were taken: warmup_steps-100, grad-accum-steps8, save_steps500.
_OTHER_STEPS = re.compile(
    r"(?:warm-?up|total|max|min|num|n|accum\w*|grad\w*|save|eval|log\w*|decay|inner|per)[-_.]?$",
    re.IGNORECASE,
)
_FINAL = re.compile(r"(?:^|[-_.])(?:final|last|latest)$", re.IGNORECASE)
# What is trained in several stages counts the steps of each from 0.
_STAGE = re.compile(r"(?<![a-z])(?:stage|phase|ingredient)[-_]?\d+", re.IGNORECASE)
_ENDING = re.compile(r"\.(?:safetensors|bin|pt|pth|ckpt|json)$", re.IGNORECASE)
# What trainers call the file in a checkpoint's folder: model-00001-of-00002, pytorch_model, consolidated.00.
_ANY_CHECKPOINTS_FILE = re.compile(
    r"(?:[a-z]+_)*(?:model|weights|consolidated|checkpoint|ckpt|params)(?:[-_.](?:\d+|of|index|safetensors|bin))*",
    re.IGNORECASE,
)


def step_of(name: str) -> int | None:
    """Return the training step that a name tells, such as 1000 of ``step1000-tokens4B`` and 50000 of ``step-50K``.

    A number is a step behind ``step``, ``global_step``, ``iter_`` or ``iteration_``, and in ``checkpoint-N``; epochs,
    tokens, sizes and versions are none. Of a path the last part counts, of ``…/model.safetensors`` the folder.

    Args:
        name: A path, a hub id or a revision.
    """
    found = _search(short_name(name))
    return None if found is None else round(float(found["number"]) * _FACTORS[found["unit"].lower()])


def is_final(name: str) -> bool:
    """Return whether a name says that it is the end of training, as ``checkpoint-final`` and ``last`` do."""
    return _FINAL.search(_ENDING.sub("", short_name(name))) is not None


def folder_of(name: str) -> str:
    """Return the folder that a checkpoint lies in."""
    return _folder_and_name(name)[0]


def before_step(name: str) -> str:
    """Return what stands before the step in a name, which tells one or ends with it."""
    part = short_name(name)
    found = _search(part)
    return part.rstrip("0123456789") if found is None else part[: found.start("number")]


def stages_of(name: str) -> tuple[str, ...]:
    """Return the stages of training that a name tells; each counts its steps from 0."""
    return tuple(stage.lower() for stage in _STAGE.findall(short_name(name)))


def short_name(name: str) -> str:
    """Return the part of a path that tells checkpoints apart: the last, of ``…/model.safetensors`` the folder."""
    return _folder_and_name(name)[1]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return what sorts names as people do: numbers in them by value, so that ``v2`` is before ``v10``."""
    return [
        (0, int(piece), "") if piece.isdecimal() and len(piece) <= 1000 else (1, 0, piece)
        for piece in re.findall(r"\d+|\D+", name)
    ]


def _search(part: str) -> re.Match[str] | None:
    found = (match for expression in _STEPS for match in expression.finditer(part))
    return next((match for match in found if not _OTHER_STEPS.search(part[: match.start()])), None)


def _folder_and_name(name: str) -> tuple[str, str]:
    folder, _, last = name.rstrip("/").rpartition("/")
    stem = _ENDING.sub("", last)
    if stem != last and folder and _ANY_CHECKPOINTS_FILE.fullmatch(stem):
        folder, _, last = folder.rpartition("/")
    return folder, last
