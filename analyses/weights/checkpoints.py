"""An ordered series of checkpoints: directories, revisions of one repository, or what a trainer left behind."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UserError

_NUMBER = re.compile(r"(\d+)(?!.*\d)")


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
        return self.revision or self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def place(self) -> str:
        """The whole name, for messages."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"


def checkpoints_at(places: Sequence[str]) -> tuple[Checkpoint, ...]:
    """Return checkpoints in the order given; ``model@revision`` names a revision.

    Steps are read off the names, such as 500 off ``checkpoint-500``, if every name has one of its own.

    Args:
        places: Directories, files, hub ids.
    """
    made = []
    for place in places:
        model, at, revision = place.rpartition("@")
        made.append(Checkpoint(model, revision) if at else Checkpoint(place))
    steps = [_step(checkpoint.revision or checkpoint.model) for checkpoint in made]
    if any(step is None for step in steps) or len(set(steps)) < len(steps):
        return tuple(made)
    return tuple(
        Checkpoint(checkpoint.model, checkpoint.revision, step)
        for checkpoint, step in zip(made, steps, strict=True)
    )


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
            f"the template of revisions {chosen!r} has no {{step}} in it: write step{{step}}, say"
        )
    return tuple(Checkpoint(repo, chosen.replace("{step}", str(step)), step) for step in sorted(set(steps)))


def checkpoints_matching(pattern: str) -> tuple[Checkpoint, ...]:
    """Return the paths that match a glob, such as ``out/checkpoint-*``, in the order of the numbers in their names.

    Args:
        pattern: A glob.

    Raises:
        UserError: If nothing matches.
    """
    paths = glob.glob(pattern)  # noqa: PTH207 - an absolute pattern is no pattern for Path.glob
    if not paths:
        raise UserError(f"no path matches {pattern!r}: quote the pattern and check where the checkpoints are")
    return checkpoints_at(sorted(paths, key=lambda path: (_step(path) or 0, path)))


def _step(name: str) -> int | None:
    """Return the last number in the last part of a name."""
    found = _NUMBER.search(name.rstrip("/").rsplit("/", 1)[-1])
    return int(found.group(1)) if found else None
