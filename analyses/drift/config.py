"""What a look at how weights move does."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, field_validator, model_validator

from ...addresses import public
from ...errors import shown
from ...models.pocket import POCKET_MODELS
from ...on_command_line import OnCommandLine, same_text
from ...settings import Records, Shots
from ..configuration import Seeds, several
from ..given_data import Data
from ..weights.checkpoints import Checkpoint
from ..weights.config import WeightsConfig
from ..weights.named_checkpoints import Checkpoints, RevisionTemplate, Steps
from ..weights.step_names import folder_of, short_name


def _texts(value: Any) -> Any:
    """Accept one text, a list, or ``a,b``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return several(value)


class DriftConfig(WeightsConfig):
    """One look at how weights move.

    A series of checkpoints is named in one way: by its checkpoints, by a repository with its steps, or by a glob.
    Nothing is every step of the embedded pocket model.

    Attributes:
        checkpoints: Directories, files or hub ids (model@revision) in order, at least two; those of one run whose
            names tell their steps come in the order of these.
        repo: One repository with a revision a step, or pocket; see steps.
        steps: The steps of the repository; of pocket all that it has.
        revision_template: How a step's revision is called. [default: step{step}]
        glob: What a trainer left behind: out/checkpoint-*, in the order of steps.
        icl: Tasks to run in context at every checkpoint.
        shots: Demonstrations of each prompt.
        seeds: One draw of demonstrations for each.
        limit: Queries of each task at most.
        data: Where the records of the task are, in place of the hub.
        tokenizer: Where the tokenizer of the checkpoints is, in place of their own.
        trust_remote_code: Run code that comes with the checkpoints or their tokenizer when tasks are run.
    """

    checkpoints: Annotated[
        Checkpoints, OnCommandLine(argument=True, read=same_text, example="CHECKPOINT,…")
    ] = ()
    repo: str | None = None
    steps: Steps = None
    revision_template: RevisionTemplate = None
    glob: Annotated[str | None, OnCommandLine(example="'out/checkpoint-*'")] = None
    icl: Annotated[tuple[str, ...], BeforeValidator(_texts), OnCommandLine(example="sst2,trec")] = ()
    shots: Shots = 8
    seeds: Seeds = (0, 1, 2)
    limit: Records | None = 200
    data: Annotated[Data | None, OnCommandLine(read=same_text, example="FOLDER")] = None
    tokenizer: str | None = None
    trust_remote_code: bool = False

    @field_validator("checkpoints")
    @classmethod
    def _a_series(cls, checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        if len(checkpoints) == 1:
            raise ValueError("give at least 2 checkpoints, not 1")
        return checkpoints

    @model_validator(mode="after")
    def _named_in_one_way(self) -> DriftConfig:
        by_step = any(value is not None for value in (self.repo, self.steps, self.revision_template))
        if sum((bool(self.checkpoints), by_step, self.glob is not None)) > 1:
            raise ValueError(
                "checkpoints are named one by one, by repo with steps, or by glob: choose one way"
            )
        if by_step and self.steps is None and self.repo not in (None, POCKET_MODELS[0]):
            raise ValueError(f"repo {shown(self.repo)} needs steps, such as 0,512,1000")
        return self

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory: the analysis, and where the series is."""
        if self.checkpoints:
            return ("drift", short_name(public(self.checkpoints[0].model)))
        if self.glob is not None:
            return ("drift", short_name(folder_of(self.glob)))
        return ("drift", self.repo or POCKET_MODELS[0])
