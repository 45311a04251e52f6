"""One draw of demonstrations under every control: what a control does not change is not run again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ...hooks.captured import Capture
from ...models.delta import Delta
from ...models.random_update import random_update
from ...models.untrained import untrained_copy
from ...seeds import derive_seed
from ...tasks.prompts import PromptSet
from ...tasks.task import Task
from ..cell import Cell
from ..comparison.cell_comparison import compare_cell, whole
from ..comparison.draw import Draw, FinetunedSetting
from ..comparison.finetuned import comparison_recipe, finetune_cell
from ..comparison.finetuning_drift import finetuning_drift
from ..comparison.pretrained import Pretrained, ZeroShot, record_pretrained, record_zero_shot
from ..comparison.settings import capture_setting, outputs_of, stream_finetuned
from ..configuration import CellConfig
from ..learning_rates import learning_rate_for
from ..subject import Subject
from .altered_cells import with_other_task, with_permuted_labels, with_shuffled_prefix
from .config import ControlName


@dataclass(frozen=True, eq=False)
class _Learned:
    """The draw's own finetuning.

    Attributes:
        delta: What it changed.
        setting: Where the weights came from.
        capture: What was recorded of the queries.
    """

    delta: Delta
    setting: FinetunedSetting
    capture: Capture


class ControlledDraw:
    """One draw of demonstrations, compared under one control after another.

    The learning rate is chosen once, on the draw itself: under a control one thing is different and no other.

    Attributes:
        cell: The draw.
    """

    def __init__(
        self, config: CellConfig, subject: Subject, cell: Cell, zero_shot: ZeroShot | None = None
    ) -> None:
        """Choose the learning rate.

        Args:
            config: The comparison.
            subject: The model and the task.
            cell: The draw.
            zero_shot: The zero-shot setting of an earlier draw.
        """
        recipe, model, task = comparison_recipe(config), subject.model, subject.task
        rate, self._choice = learning_rate_for(config, recipe, model, task, cell)
        self._config = config.model_copy(update={"learning_rate": rate})
        self._subject, self.cell, self._earlier = subject, cell, zero_shot

    @cached_property
    def zero_shot(self) -> ZeroShot:
        """The zero-shot setting, which a later draw may share."""
        return record_zero_shot(self._config, self._subject.model, self.cell, earlier=self._earlier)

    @cached_property
    def permuted(self) -> Cell:
        """The draw with permuted labels."""
        return with_permuted_labels(self._config, self._subject.model, self._subject.task, self.cell)

    def compare(self, control: ControlName, other: Task | None = None) -> Draw:
        """Return the comparison under a control.

        Args:
            control: Which.
            other: The task whose demonstrations stand in the context under ``other_task``.

        Raises:
            UserError: If finetuning diverges, or there is no such control of this model.
        """
        model = self._subject.model
        if control == "none":
            return self._with_context(self.cell, self._pretrained)
        if control == "shuffled_prefix":
            return self._with_context(with_shuffled_prefix(self.cell))
        if control == "other_task":
            if other is None:
                raise ValueError("the control 'other_task' needs the other task")
            return self._with_context(with_other_task(self.cell, model, other))
        if control == "random_update":
            return self._with_random_update()
        if control == "permuted_labels":
            return self._from_scratch(self._subject, self.permuted, self.zero_shot)
        return self._from_scratch(
            replace(self._subject, model=untrained_copy(model, self.cell.seed)), self.cell, None
        )

    @cached_property
    def _pretrained(self) -> Pretrained:
        return self._in_context(self.cell)

    def _in_context(self, cell: Cell) -> Pretrained:
        return record_pretrained(self._config, self._subject.model, cell, earlier=self.zero_shot)

    @cached_property
    def _learned(self) -> _Learned:
        delta, setting = self._finetune(self._subject, self.cell)
        with delta.applied(self._subject.model):
            capture = capture_setting(self._batched, self._subject.model, self._queries, "ft", None)
        return _Learned(delta, setting, capture)

    @property
    def _queries(self) -> PromptSet:
        return self.cell.prompts.zero_shot

    @property
    def _batched(self) -> CellConfig:
        return self._config.model_copy(update={"batch_size": self.zero_shot.batch_size})

    def _finetune(self, subject: Subject, cell: Cell) -> tuple[Delta, FinetunedSetting]:
        delta, setting = finetune_cell(
            self._config, subject.model, subject.task, cell, int(self._batched.batch_size)
        )
        return delta, replace(setting, choice=self._choice)

    def _with_context(self, cell: Cell, pretrained: Pretrained | None = None) -> Draw:
        """Compare the draw's own finetuning with another context."""
        learned = self._learned
        pretrained = pretrained or self._in_context(cell)
        return compare_cell(
            self._config,
            self._subject,
            cell,
            pretrained,
            learned.setting,
            whole(learned.capture),
            outputs_of(learned.capture),
        )

    def _with_random_update(self) -> Draw:
        """Compare a random update with the draw's own context."""
        model, learned = self._subject.model, self._learned
        delta = random_update(model, learned.delta, derive_seed("random update", self.cell.seed))
        setting = FinetunedSetting(
            source=f"a random update of the size of {learned.setting.source}'s",
            trained_parameters=learned.setting.trained_parameters,
            finetuning=None,
            choice=None,
            evaluations=(),
            drift=finetuning_drift(model, delta),
        )
        return self._streamed(self._subject, self.cell, self._pretrained, setting, delta)

    def _from_scratch(self, subject: Subject, cell: Cell, zero_shot: ZeroShot | None) -> Draw:
        """Compare where in-context learning and finetuning are both different."""
        delta, setting = self._finetune(subject, cell)
        pretrained = record_pretrained(self._config, subject.model, cell, earlier=zero_shot)
        return self._streamed(subject, cell, pretrained, setting, delta)

    def _streamed(
        self, subject: Subject, cell: Cell, pretrained: Pretrained, setting: FinetunedSetting, delta: Delta
    ) -> Draw:
        batched = self._config.model_copy(update={"batch_size": pretrained.zero_shot.batch_size})
        with delta.applied(subject.model):
            batches = stream_finetuned(batched, subject.model, self._queries, "ft")
            return compare_cell(self._config, subject, cell, pretrained, setting, batches)
