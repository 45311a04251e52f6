"""What is asked of where attention goes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ...hooks.engines.names import EngineName
from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine, escaped_text
from ...settings import Layer, Records
from ..configuration import CellConfig, LearningRate, SubjectConfig, numbers, several

Setting = Literal["zsl", "icl", "ft"]
MapKind = Literal["pattern", "scores"]
_Head = Annotated[int, Field(ge=0, le=100_000)]


def _names(value: Any) -> Any:
    """Accept one name, a list, or ``"zsl,icl"``."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else several(value)


def _layers(value: Any) -> Any:
    """Accept ``auto``, one number, a list, or ``"0,-1"``."""
    return value if value == "auto" else numbers(value)


def _heads(value: Any) -> Any:
    """Accept ``all``, one number, a list, or ``"0,3"``."""
    return value if value == "all" else numbers(value)


class AttentionConfig(SubjectConfig):
    """A look at where attention goes in context, and at the maps of one query.

    Attributes:
        limit: Queries at most whose last token's attention is measured.
        permuted_labels: Measure again with the demonstrations' labels permuted.
        text: A text of one's own that is mapped alone, in place of queries of the task.
        query: The query that is mapped: its index among the validation records, among those asked or not; None is the
            first one asked.
        settings: In which settings it is mapped: ``zsl`` (zero-shot), ``icl``, ``ft`` (finetuned on the
            demonstrations and asked without them). With ``ft`` it is also measured, over all queries, how far
            finetuning and ICL move each head's attention.
        layers: Which layers are mapped; negative ones count from the end. ``auto`` is the layer of the head that
            looks at the demonstrations' labels most; of a text of one's own it is the last.
        heads: Which heads are mapped.
        map: What is mapped: the post-softmax ``pattern`` or the pre-softmax ``scores``.
        engine: What runs the model where something is recorded: ``native``, ``transformer-lens`` or ``nnsight``.
        recipe: How to finetune for ``ft``: a preset, a YAML file or a mapping.
        learning_rate: In place of the recipe's, which is ``auto`` in every paper's preset: up to 11 rates are tried
            on held-out training records. A number, ``auto`` or ``published``.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.
    """

    analysis: ClassVar[str] = "attention"

    limit: Records | None = 100
    permuted_labels: bool = True
    text: Annotated[str | None, Field(min_length=1, max_length=100_000), OnCommandLine(read=escaped_text)] = (
        None
    )
    query: int | None = Field(default=None, ge=0, le=100_000_000)
    settings: Annotated[tuple[Setting, ...], BeforeValidator(_names), Field(min_length=1, max_length=3)] = (
        "zsl",
        "icl",
    )
    layers: Annotated[
        Annotated[tuple[Layer, ...], Field(min_length=1, max_length=1000)] | Literal["auto"],
        BeforeValidator(_layers),
        OnCommandLine(example="20,-1"),
    ] = "auto"
    heads: Annotated[
        tuple[_Head, ...] | Literal["all"], BeforeValidator(_heads), OnCommandLine(example="0,3")
    ] = "all"
    map: MapKind = "pattern"
    engine: EngineName = "native"
    recipe: Recipe | str | dict[str, Any] = "dai"
    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    resamples: int = Field(default=2000, ge=1, le=1_000_000)
    level: float = Field(default=0.95, gt=0, lt=1)

    def finetuning(self) -> CellConfig:
        """Return the comparison whose finetuning the setting ``ft`` has."""
        shared = {name: getattr(self, name) for name in SubjectConfig.model_fields}
        own = {
            name: getattr(self, name) for name in ("engine", "recipe", "learning_rate", "resamples", "level")
        }
        return CellConfig(**{**shared, **own})
