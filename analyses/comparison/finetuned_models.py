"""The finetuned models that a comparison is asked for: found, in the order of their steps, each with a short name."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...addresses import public
from ...errors import UserError, shown
from ...models.finetuned_files import holds_weights, refuse_unfinished
from ...text_files import exists, in_home, is_folder
from ..weights.checkpoints import (
    Checkpoint,
    checkpoints_by_step,
    checkpoints_matching,
    is_one_run,
    with_one_step,
)
from ..weights.step_names import folder_of, is_final
from .config import CompareConfig

FINAL = "final"
"""What a trainer's folder is called that holds the finished model beside its checkpoints."""


def finetuned_models(config: CompareConfig) -> dict[str, Checkpoint]:
    """Return the finetuned models by their names, those of one training run in the order of their steps.

    A trainer's folder and a glob are every checkpoint there; what the folder itself holds beside them comes last.

    Raises:
        UserError: If there is none, one is named twice, or two are of one step.
    """
    found = _found(config)
    twice = next((one for place, one in enumerate(found) if one in found[:place]), None)
    if twice is not None:
        raise UserError(f"the finetuned model {shown(twice.place)} is named twice: leave one out")
    same = with_one_step(found)
    if same is not None:
        one, other, step = same
        raise UserError(
            f"{shown(one.place)} and {shown(other.place)} are both step {step} of one training run: leave one out"
        )
    return dict(zip(_names(found), found, strict=True))


def is_series(models: Sequence[Checkpoint]) -> bool:
    """Return whether finetuned models are the checkpoints of one training run, its end last."""
    saved = [one for one in models if not _is_end(one, models)]
    return len(models) > 1 and is_one_run(saved)


def check_files(config: CompareConfig) -> None:
    """Refuse finetuned models of which files on this machine tell that they cannot be loaded.

    Raises:
        UserError: It names the folder and what is missing.
    """
    for model in finetuned_models(config).values():
        if model.revision is None:
            refuse_unfinished(model.model)


def _found(config: CompareConfig) -> tuple[Checkpoint, ...]:
    if config.steps is not None:
        return checkpoints_by_step(config.finetuned[0].model, config.steps, config.revision_template)
    only, *others = (_at_home(one) for one in config.finetuned)
    if others:
        for one in (only, *others):
            _refuse_several(one)
        return (only, *others)
    if only.revision is None and _is_pattern(only.model):
        return _told(checkpoints_matching(only.model))
    if only.revision is None and is_folder(only.model):
        return _in_folder(only)
    return (only,)


def _at_home(one: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose ``~`` is written out, which a shell does at the beginning of a list alone."""
    return replace(one, model=str(in_home(one.model))) if one.model.startswith("~") else one


def _in_folder(only: Checkpoint) -> tuple[Checkpoint, ...]:
    """Return what a trainer left in a folder, or the folder itself."""
    folder = only.model.rstrip("/") or "/"
    if not any(Path(folder).glob("checkpoint-*")):
        return (only,)
    saved = _told(checkpoints_matching(f"{glob.escape(folder)}/checkpoint-*"))
    return (*saved, Checkpoint(folder)) if holds_weights(folder) else saved


def _told(found: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
    """Refuse what a glob found beside the checkpoints of one run; where no name tells a step, it found models."""
    if any(one.step is not None for one in found) and len(found) > 1 and not is_one_run(found):
        odd = next((one for one in found if one.step is None and not is_final(one.model)), found[-1])
        raise UserError(
            f"{shown(odd.place)} is no step of one training run with {shown(found[0].place)}: give a glob of one "
            "run's steps, such as 'out/checkpoint-[0-9]*', or name them one by one"
        )
    return found


def _refuse_several(one: Checkpoint) -> None:
    """Refuse what stands for several models where it is one of several."""
    if one.revision is not None:
        return
    in_it = is_folder(one.model) and any(Path(one.model).glob("checkpoint-*"))
    if _is_pattern(one.model) or (in_it and not holds_weights(one.model)):
        raise UserError(
            f"{shown(one.place)} stands for several checkpoints: give it alone, for its series, or one of its "
            "checkpoints beside other models"
        )


def _is_pattern(place: str) -> bool:
    return glob.has_magic(place) and not exists(place) and "://" not in place


def _is_end(one: Checkpoint, models: Sequence[Checkpoint]) -> bool:
    """Return whether a model is what a trainer's folder itself holds, beside the checkpoints in it."""
    return one is models[-1] and len(models) > 1 and one.revision is None and _parents(one, models[:-1])


def _parents(one: Checkpoint, others: Sequence[Checkpoint]) -> bool:
    return {folder_of(other.model) for other in others} == {one.model.rstrip("/")}


def _names(models: Sequence[Checkpoint]) -> list[str]:
    """Return a name for each: as few of the last parts of its place as tell it apart from the others."""
    parts = [_parts(one, models) for one in models]
    most = max(map(len, parts))
    for used in range(1, most):
        names = ["/".join(each[-used:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(each) for each in parts]


def _parts(one: Checkpoint, models: Sequence[Checkpoint]) -> tuple[str, ...]:
    if _is_end(one, models):
        return (FINAL,)
    place = public(one.model)
    if one.revision is None and is_folder(place):
        path = Path(place)
        # The name of a folder that is given as `.` or `..` is elsewhere.
        path = path.resolve() if path.name in ("", "..") else path
        parts = tuple(part for part in path.parts if part != path.anchor)
    else:
        parts = tuple(part for part in place.split("/") if part) or (place,)
    if one.revision is None:
        return parts
    return (*parts[:-1], f"{parts[-1]}@{one.revision}")
