"""The checkpoints of a series, found when they are about to be read."""

from __future__ import annotations

from ...errors import UserError, shown
from ...models.pocket import POCKET_MODELS, pocket_steps
from ..weights.checkpoints import Checkpoint, checkpoints_by_step, checkpoints_matching
from .config import DriftConfig


def with_series(config: DriftConfig) -> DriftConfig:
    """Return a configuration that names every checkpoint of its series.

    Args:
        config: A configuration that names them in any way.

    Raises:
        UserError: If fewer than two paths match its glob.
    """
    named_otherwise = dict.fromkeys(("repo", "steps", "revision_template", "glob"))
    return config.model_copy(update={**named_otherwise, "checkpoints": _series(config)})


def _series(config: DriftConfig) -> tuple[Checkpoint, ...]:
    if config.checkpoints:
        return config.checkpoints
    if config.glob is not None:
        found = checkpoints_matching(config.glob)
        if len(found) == 1:
            raise UserError(
                f"only {shown(found[0].place)} matches {shown(config.glob)}: a series has at least 2 checkpoints"
            )
        return found
    return checkpoints_by_step(
        config.repo or POCKET_MODELS[0], config.steps or pocket_steps(), config.revision_template
    )
