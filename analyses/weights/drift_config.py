"""What a look at how weights move does."""

from __future__ import annotations

from pydantic import Field

from ...settings import Records, Shots
from ..configuration import Seeds
from ..given_data import Data
from .checkpoints import Checkpoint
from .config import WeightsConfig


class DriftConfig(WeightsConfig):
    """One look at how weights move.

    Attributes:
        checkpoints: The checkpoints in order, at least two.
        icl: Tasks to run in context at every checkpoint.
        shots: Demonstrations of each prompt.
        seeds: One draw of demonstrations for each.
        limit: Queries of each task at most.
        data: Where the records of the task are, in place of the hub.
        tokenizer: Where the tokenizer of the checkpoints is, in place of their own.
        trust_remote_code: Run code that comes with the checkpoints or their tokenizer when tasks are run.
    """

    checkpoints: tuple[Checkpoint, ...] = Field(min_length=2)
    icl: tuple[str, ...] = ()
    shots: Shots = 8
    seeds: Seeds = (0, 1, 2)
    limit: Records | None = 200
    data: Data | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
