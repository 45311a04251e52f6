"""Whose prompt is shown."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .configuration import SubjectConfig


class PromptConfig(SubjectConfig):
    """A look at one prompt.

    Attributes:
        query: Index of the query among the validation records, ``query_index`` in the tables; None is the first.
    """

    analysis: ClassVar[str] = "prompt"

    query: int | None = Field(default=None, ge=0, le=100_000_000)
