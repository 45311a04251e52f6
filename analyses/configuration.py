"""What is run and what a comparison does: one configuration for Python, YAML and the command line."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..hooks.engines.names import EngineName
from ..hooks.plan import CapturePlan
from ..hooks.scoring import Scoring
from ..models.recipe import Recipe
from ..on_command_line import OnCommandLine, escaped_text, same_text
from ..probes.options import Agreement, ScoreVariant
from ..settings import BatchSize, Positive, Records, Seed, Settings, Shots
from ..tasks.catalogue import DEFAULT_TASK
from ..tasks.delimited_files import Quoting
from ..tasks.given_label_words import LabelWords, read_label_words
from ..tasks.own_task import OWN_TASK
from ..tasks.task import ChatTemplate
from ..text_files import is_file
from .given_data import Data
from .weights.checkpoints import Checkpoint

LearningRate = Positive | Literal["auto", "published"]


def numbers(value: Any) -> Any:
    """Accept one number, a list, or ``"0,1,2"``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _yaml_off(value: Any) -> Any:
    """Read the ``off`` that other readers of YAML take for false."""
    return "off" if value is False else value


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is named twice, which would count one draw of demonstrations as two")
    return seeds


Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(numbers),
    AfterValidator(_different),
    Field(min_length=1, max_length=1000),
    OnCommandLine(("--seed",), example="0,1,2"),
]
"""Different seeds: one draw of demonstrations for each."""


def several(value: Any) -> tuple[Any, ...]:
    """Return a list or tuple as a tuple, and one value as a tuple of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def several_recipes(value: Any) -> Any:
    """Accept one recipe, several, or ``"dai,barnatan_lcft"``; a file's name may hold a comma."""
    if isinstance(value, str) and not is_file(value):
        return tuple(part.strip() for part in value.split(","))
    return several(value)


def _label_words(value: Any) -> Any:
    """Accept a list, a mapping from the data's values, ``"bad,good"`` and ``"1=bad,5=good"``."""
    return None if value is None else read_label_words(value)


class SubjectConfig(Settings):
    """What an analysis is run on: a model, a task and its demonstrations. Every analysis adds its own to it.

    Attributes:
        analysis: The name of the analysis, which begins the name of its run directory.
        model: Hub id, local directory, or an embedded model.
        revision: Branch, tag or commit; for ``pocket`` a training step.
        adapter: A PEFT adapter merged into the model before anything else.
        tokenizer: Where the tokenizer is, in place of the model's own.
        trust_remote_code: Run code that comes with the model or its tokenizer.
        task: A task of the catalogue, or a name for the user's own data; data without a name is called ``own``.
        template: A template variant such as ``dai`` or ``shen``, or a template's text.
        label_words: Label words in place of the template's: in the order of the labels, or by the data's values.
        separator: What stands between demonstrations, in place of the template's.
        chat_template: ``user_turn`` puts demonstrations and query into one user turn, as the tokenizer's chat
            template writes it, and the label where the assistant answers; ``off`` is plain text.
        data: Records in place of the hub's: where they are, or lists, DataFrames and datasets in memory.
        columns: How the data's columns map to the template's fields.
        quoting: What quotation marks are in CSV and TSV files: text, around fields, or what the file shows.
        shots: Demonstrations.
        seeds: One draw of demonstrations for each.
        order: Seed of another order of the same demonstrations.
        balanced: Draw demonstrations evenly from every label.
        strict_shots: Refuse to leave out demonstrations that do not fit the context window.
        match_demonstrations: Finetune on the demonstrations that were used in context.
        limit: Queries at most, drawn at random from the validation records.
        max_record_tokens: Leave out longer records.
        held_out: Training records on which ``auto`` chooses the learning rate.
        scoring: How label words of several tokens are scored.
        device: Where the model runs.
        dtype: What it computes in.
        batch_size: ``auto`` sizes batches to memory.
    """

    analysis: ClassVar[str] = "subject"

    model: str = "pocket"
    revision: str | None = None
    adapter: str | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
    task: str = DEFAULT_TASK
    template: Annotated[str | None, OnCommandLine(read=escaped_text)] = None
    label_words: Annotated[
        LabelWords | None, BeforeValidator(_label_words), OnCommandLine(read=same_text, example="bad,good")
    ] = None
    separator: Annotated[str | None, OnCommandLine(read=escaped_text)] = None
    chat_template: Annotated[ChatTemplate, BeforeValidator(_yaml_off)] = "off"
    data: Annotated[Data | None, OnCommandLine(read=same_text, example="FOLDER")] = None
    columns: Annotated[dict[str, str], OnCommandLine(example="sentence=text,gold=label")] = Field(
        default={}, max_length=1000
    )
    quoting: Quoting = "auto"
    shots: Shots = 8
    seeds: Seeds = (0,)
    order: Seed | None = None
    balanced: bool = False
    strict_shots: bool = False
    match_demonstrations: bool = True
    limit: Records | None = None
    max_record_tokens: Records | None = None
    held_out: Records = 64
    scoring: Scoring = "mean"
    device: str = "auto"
    dtype: str = "auto"
    batch_size: BatchSize | Literal["auto"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _own_data_has_a_name(cls, values: Any) -> Any:
        """Data is not the default task's unless somebody says so."""
        if isinstance(values, dict) and values.get("data") is not None and "task" not in values:
            return {**values, "task": OWN_TASK}
        return values

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory: the analysis, the model, the task, shots and seeds."""
        return (self.analysis, self.model, self.task, self._draws)

    @property
    def _draws(self) -> str:
        """The numbers of shots and the seeds, for the name; experiments over several shots have a tuple of them."""
        shots, seeds = ("-".join(map(str, several(value))) for value in (self.shots, self.seeds))
        return f"{shots}shots-seed{'s' * (len(self.seeds) > 1)}{seeds}"


class MeasuringConfig(SubjectConfig):
    """How in-context learning and finetuning are compared, whatever is finetuned how.

    Attributes:
        learning_rate: In place of the recipe's, which is ``auto`` in every paper's preset: up to 11 rates are tried
            on held-out training records. A number, ``auto`` or ``published``.
        plan: What to record.
        engine: What runs the model where something is recorded: ``native`` reads attention in the model's own
            module, ``transformer-lens`` and ``nnsight`` through these libraries, more slowly than estimated.
        score_variant: Which SimAM (R4).
        agreement: What counts as a shared change of prediction (R6).
        null_draws: Random draws of each null of SimAOU.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.
    """

    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    plan: CapturePlan = CapturePlan()
    engine: EngineName = "native"
    score_variant: ScoreVariant = "raw"
    agreement: Agreement = "same_label"
    null_draws: int = Field(default=10, ge=1, le=10_000)
    resamples: int = Field(default=2000, ge=1, le=1_000_000)
    level: float = Field(default=0.95, gt=0, lt=1)

    def comparison(self, **changes: Any) -> CellConfig:
        """Return the comparison that has all of this, and the changes."""
        shared = {name: getattr(self, name) for name in MeasuringConfig.model_fields}
        return CellConfig(**{**shared, **changes})


class CellConfig(MeasuringConfig):
    """One comparison of in-context learning with one way of finetuning, for one number of shots.

    Attributes:
        recipe: A preset, a YAML file or a mapping.
        finetuned: A model or adapter that somebody else finetuned, in place of a recipe.
        save_captures: Keep the recorded arrays in the run directory.
    """

    recipe: Recipe | str | dict[str, Any] = "dai"
    finetuned: Checkpoint | None = None
    save_captures: bool = False
