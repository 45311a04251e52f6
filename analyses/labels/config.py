"""The labels that demonstrations may have, and what a study of them does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine, same_text
from ..configuration import MeasuringConfig

VariantName = Literal["gold", "random", "flipped", "abstract"]

VARIANTS: Mapping[VariantName, str] = {
    "gold": "the demonstrations have their own labels",
    "random": "labels are drawn so that exactly as many are right as chance gives",
    "flipped": "every label is replaced by the next one, so that none is right",
    "abstract": "the labels are right, and stand as words that mean nothing",
}
"""Every variant and what is different about it, in context and for finetuning alike."""


def _names(value: Any) -> Any:
    """Accept several names, one, a list with commas, or ``all``."""
    if isinstance(value, str):
        return get_args(VariantName) if value == "all" else tuple(part.strip() for part in value.split(","))
    return value


class LabelsConfig(MeasuringConfig):
    """One comparison with the demonstrations' own labels and with others.

    Attributes:
        recipe: A preset, a YAML file or a mapping. A rate that is chosen is chosen with the gold labels and kept.
        variants: Which labels, or ``all``; ``gold`` is among them, for everything is read against it.
        abstract_words: The words of ``abstract``, one a label. [default: A,B,…]
    """

    analysis: ClassVar[str] = "labels"

    recipe: Recipe | str | dict[str, Any] = "dai"
    variants: Annotated[
        tuple[VariantName, ...],
        BeforeValidator(_names),
        Field(min_length=2),
        OnCommandLine(read=same_text, example="gold,flipped"),
    ] = get_args(VariantName)
    abstract_words: Annotated[
        Annotated[tuple[str, ...], Field(max_length=1000)] | None,
        BeforeValidator(_names),
        OnCommandLine(read=same_text, example="A,B"),
    ] = None

    @field_validator("variants")
    @classmethod
    def _once_and_gold(cls, variants: tuple[VariantName, ...]) -> tuple[VariantName, ...]:
        if len(set(variants)) < len(variants):
            raise ValueError("a variant is named twice")
        if "gold" not in variants:
            raise ValueError("everything is read against gold labels: name gold among the variants")
        return variants
