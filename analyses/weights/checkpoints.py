"""An ordered series of checkpoints: directories, revisions of one repository, or what a trainer left behind."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...addresses import public
from ...errors import UserError, shown
from ...text_files import exists
from .step_names import before_step, folder_of, is_final, natural_key, short_name, stages_of, step_of


@dataclass(frozen=True)
class Checkpoint:
    """One state of a model's weights.

    Attributes:
        model: Hub id, directory, file, or an embedded model.
        revision: Branch, tag or commit; for ``pocket`` a training step.
        step: The training step, where its name tells.
    """

    model: str
    revision: str | None = None
    step: int | None = None

    @property
    def label(self) -> str:
        """A short name for tables and figures."""
        if self.step is not None:
            return str(self.step)
        return self.revision or short_name(public(self.model))

    @property
    def place(self) -> str:
        """The whole name, for messages."""
        model = public(self.model)
        return model if self.revision is None else f"{model}@{self.revision}"

    def __repr__(self) -> str:
        """Return the place without the secrets of an address."""
        return f"Checkpoint({public(self.model)!r}, revision={self.revision!r}, step={self.step!r})"


def checkpoints_at(places: Sequence[str]) -> tuple[Checkpoint, ...]:
    """Return checkpoints in the order given; ``model@revision`` names a revision.

    Checkpoints of one training run whose names tell their steps, such as ``checkpoint-500`` (see `step_of`), come in
    the order of their steps, and what is called final last. Names that tell none keep their order. Steps that do not
    rise along the series, or belong to several stages of training, are left out: they count from different starts.

    Args:
        places: Directories, files, hub ids.
    """
    made = [_checkpoint(place) for place in places]
    if is_one_run(made):
        made.sort(key=lambda checkpoint: (checkpoint.step is None, checkpoint.step or 0))
    steps = [checkpoint.step for checkpoint in made if checkpoint.step is not None]
    stages = {stages_of(_name(checkpoint)) for checkpoint in made if checkpoint.step is not None}
    if sorted(set(steps)) != steps or len(stages) > 1:
        made = [replace(checkpoint, step=None) for checkpoint in made]
    return tuple(made)


def checkpoints_by_step(
    repo: str, steps: Sequence[int], template: str | None = None
) -> tuple[Checkpoint, ...]:
    """Return revisions of one repository in the order of their steps.

    Args:
        repo: Hub id, such as ``EleutherAI/pythia-160m``, or ``pocket``.
        steps: Training steps.
        template: How a step's revision is called; ``step{step}`` on the hub, the number itself for ``pocket``.

    Raises:
        UserError: If the template has no ``{step}`` in it.
    """
    from ...models.pocket import POCKET_MODELS

    chosen = template or ("{step}" if repo in POCKET_MODELS else "step{step}")
    if "{step}" not in chosen:
        raise UserError(
            f"the template of revisions {shown(chosen)} has no {{step}} in it: write step{{step}}, say"
        )
    return tuple(Checkpoint(repo, chosen.replace("{step}", str(step)), step) for step in sorted(set(steps)))


def checkpoints_matching(pattern: str) -> tuple[Checkpoint, ...]:
    """Return the paths that match a glob, such as ``out/checkpoint-*``, folder by folder in the order of training.

    Names that tell no step come first, numbers in them by value; then the steps; what is called final comes last.

    Args:
        pattern: A glob.

    Raises:
        UserError: If nothing matches.
    """
    paths = glob.glob(pattern)  # noqa: PTH207 - an absolute pattern is no pattern for Path.glob
    if not paths:
        raise UserError(
            f"no path matches {shown(pattern)}: quote the pattern and check where the checkpoints are"
        )

    def place(path: str) -> tuple[Any, ...]:
        step, stages = step_of(path), [natural_key(stage) for stage in stages_of(path)]
        told = -1 if step is None else step
        return natural_key(folder_of(path)), is_final(path), stages, told, natural_key(path)

    return checkpoints_at(sorted(paths, key=place))


def _checkpoint(place: str) -> Checkpoint:
    """Return what a place names, with the step that its revision tells, or else its model's name."""
    from ...models.pocket import POCKET_MODELS

    model, at, revision = place.rpartition("@")
    # What stands before the @ of an address is a password.
    if not at or "://" in place or exists(place):
        return Checkpoint(place, None, step_of(public(place)))
    if model in POCKET_MODELS and revision.isdecimal() and len(revision) <= 15:
        return Checkpoint(model, revision, int(revision))
    step = step_of(revision)
    return Checkpoint(model, revision, step_of(model) if step is None else step)


def _name(checkpoint: Checkpoint) -> str:
    """Return the name that tells a checkpoint's step, if one does."""
    if checkpoint.revision is None:
        return public(checkpoint.model)
    told_by_model = step_of(checkpoint.revision) is None and step_of(checkpoint.model) is not None
    return checkpoint.model if told_by_model else checkpoint.revision


def with_one_step(made: Sequence[Checkpoint]) -> tuple[Checkpoint, Checkpoint, int] | None:
    """Return the first two checkpoints of one run that tell the same step, and the step; None if no two do."""
    seen: dict[tuple[str, str, int], Checkpoint] = {}
    for checkpoint in made:
        name = _name(checkpoint)
        step = step_of(name)
        if step is not None:
            key = (_place(checkpoint), before_step(name), step)
            if key in seen:
                return seen[key], checkpoint, step
            seen[key] = checkpoint
    return None


def is_one_run(made: Sequence[Checkpoint]) -> bool:
    """Return whether checkpoints lie together, and are named alike but for their steps and one final one."""
    last = [checkpoint for checkpoint in made if checkpoint.step is None]
    told = [checkpoint for checkpoint in made if checkpoint.step is not None]
    return (
        bool(told)
        and len(last) <= 1
        and all(is_final(_name(checkpoint)) for checkpoint in last)
        and len({(_place(checkpoint), before_step(_name(checkpoint))) for checkpoint in told}) == 1
        and {_place(checkpoint) for checkpoint in last} <= {_place(checkpoint) for checkpoint in told}
    )


def _place(checkpoint: Checkpoint) -> str:
    return folder_of(public(checkpoint.model)) if checkpoint.revision is None else checkpoint.model
