"""How checkpoints and the steps of a series are named in a configuration, the same in every analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ...on_command_line import OnCommandLine
from ...text_files import exists
from ..configuration import numbers, several
from .checkpoints import Checkpoint, checkpoints_at

_MOST_COMMAS = 10
"""In the name of a path."""

Step = Annotated[int, Field(ge=0, le=10**15)]
"""A training step."""


def _places(text: str) -> list[str]:
    """Split ``a,b`` at the commas that are in the name of no path that is there."""
    parts, places = text.split(","), []
    while parts:
        longest = min(len(parts), 1 + _MOST_COMMAS)
        whole = next((size for size in range(longest, 1, -1) if exists(",".join(parts[:size]))), 1)
        places.append(",".join(parts[:whole]).strip())
        parts = parts[whole:]
    return [place for place in places if place]


def _checkpoints(value: Any) -> Any:
    """Accept places, which come in the order of their steps where they tell them, beside `Checkpoint` entries."""
    if value is None:
        return ()
    entries = _places(value) if isinstance(value, str) else several(value)
    if all(isinstance(entry, str | Path) for entry in entries):
        return checkpoints_at([str(entry) for entry in entries])
    return tuple(
        checkpoints_at([str(entry)])[0] if isinstance(entry, str | Path) else entry for entry in entries
    )


def _several_steps(steps: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if steps is not None and len(set(steps)) < 2:
        raise ValueError("give at least 2 different steps")
    return steps


def _has_a_step(template: str | None) -> str | None:
    if template is not None and "{step}" not in template:
        raise ValueError("it has no {step} in it: write step{step}, say")
    return template


Checkpoints = Annotated[tuple[Checkpoint, ...], BeforeValidator(_checkpoints)]
"""``a,b``, places or `Checkpoint` entries; ``model@revision`` names a revision."""
Steps = Annotated[
    tuple[Step, ...] | None,
    BeforeValidator(numbers),
    AfterValidator(_several_steps),
    OnCommandLine(example="0,512,1000"),
]
"""The steps of a repository that has a revision for each."""
RevisionTemplate = Annotated[str | None, AfterValidator(_has_a_step), OnCommandLine(example="step{step}")]
"""How a step's revision is called, with ``{step}`` in it."""
