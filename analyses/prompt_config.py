"""What is asked of a look at one prompt."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from ..settings import Shots
from .configuration import SubjectConfig


def _one_number(value: Any) -> Any:
    """Take one number out of a list, as experiments over several numbers of shots write it."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 1:
        raise ValueError("a prompt has one number of shots: give it (--shots)")
    return value[0]


class PromptConfig(SubjectConfig):
    """A look at one prompt.

    Attributes:
        shots: Demonstrations.
        query: Index of the query among the validation records, ``query_index`` in the tables; None is the first.
    """

    analysis: ClassVar[str] = "prompt"

    shots: Annotated[Shots, BeforeValidator(_one_number)] = 8
    query: int | None = Field(default=None, ge=0, le=100_000_000)
