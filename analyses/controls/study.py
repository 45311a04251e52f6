"""What is left of a comparison when one thing about it is taken away: the same numbers under controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, shown
from ...hooks.self_check import self_check
from ...models.loading import LanguageModel
from ...models.recipe import load_recipe
from ...settings import make_config
from ...study.run_directory import run_directory
from ...tasks.catalogue import load_task
from ...tasks.task import Task
from ..cell import prepare_cell
from ..comparison.cells import check_cell
from ..comparison.draw import Draw
from ..comparison.estimate import estimate_comparisons
from ..comparison.measures import Intervals, Measure, MeasureOverDraws, measures_of, over_draws
from ..comparison.pretrained import ZeroShot
from ..provenance import provenance
from ..study_files import write_study
from ..subject import Subject, load_subject
from .altered_cells import changed_labels, next_task_without_network
from .config import CONTROLS, ControlName, ControlsConfig
from .run import ControlledDraw

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class ControlsStudy:
    """One comparison under several controls.

    Attributes:
        config: What was asked for.
        draws: The results under each control, one a draw of demonstrations.
        labels_changed: How many demonstrations of each draw have another label under ``permuted_labels``.
        other_task: The task in the context under ``other_task``; None where that was not asked for.
        provenance: Versions, hashes and devices.
    """

    config: ControlsConfig
    draws: Mapping[ControlName, tuple[Draw, ...]]
    labels_changed: tuple[int, ...]
    other_task: str | None
    provenance: Mapping[str, Any]

    def each_draw(self, control: str) -> list[tuple[Measure, ...]]:
        """Return every number of each draw under a control."""
        intervals = Intervals(self.config.resamples, self.config.level)
        for name, draws in self.draws.items():
            if name == control:
                return [measures_of(draw, self.config.agreement, intervals) for draw in draws]
        raise KeyError(f"no control {shown(control)}: there are {', '.join(self.draws)}")

    def measures(self, control: str) -> tuple[MeasureOverDraws, ...]:
        """Return every number under a control, mean and standard deviation over draws."""
        return over_draws(self.each_draw(control))

    def to_pandas(self) -> DataFrame:
        """Return one row per control and measure, with mean and standard deviation over draws."""
        from ...reports.controls_table import controls_frame

        return controls_frame(self)

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.controls_table import controls_text

        return controls_text(self)

    def plot(self) -> Figure:
        """Draw accuracies, SimAOU and SimAM under each control."""
        from ...reports.controls_figure import controls_figure

        return controls_figure(self)

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "model": self.config.model,
            "task": self.config.task,
            "shots": self.config.shots,
            "seeds": self.config.seeds,
            "labels_changed": self.labels_changed,
            "other_task": self.other_task,
            "controls": {
                control: {
                    "what": CONTROLS[control],
                    "prompt": self._prompt(control),
                    "measures": {
                        measure.name: {
                            "unit": measure.unit,
                            "mean": measure.mean,
                            "std": measure.std,
                            "draws": measure.draws,
                            "each_draw": [
                                {one.name: one.value for one in numbers}[measure.name]
                                for numbers in self.each_draw(control)
                            ],
                        }
                        for measure in self.measures(control)
                    },
                }
                for control in self.draws
            },
        }

    def _prompt(self, control: ControlName) -> dict[str, Any] | None:
        """Return a whole prompt of a control, unless it is that of the control before all others."""
        first, own = (self.draws[name][0].prompt for name in (next(iter(self.draws)), control))
        repeated = own == first and control != next(iter(self.draws))
        return None if own is None or repeated else own.to_dict()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run directory, whole or not at all."""
        with run_directory(Path(path), overwrite=overwrite) as folder:
            _write(folder, self)
        return Path(path)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def _repr_html_(self) -> str:
        from ...reports.controls_table import controls_html

        return controls_html(self)


def controls(
    config: ControlsConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    other_task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> ControlsStudy:
    """Compare in-context learning with finetuning as `compare` does, again under each control.

    The controls are those of Bar Natan et al.'s code (`untrained`) and the usual ones of the literature: see
    `CONTROLS`. Captures and finetunings that a control does not change are not run again. A learning rate that is
    chosen is chosen on the comparison itself and kept under every control.

    Args:
        config: Everything about the study; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name. It is left as it is.
        task: A task in memory in place of the configuration's, or its name.
        other_task: The other task, in memory or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        say: Told what is about to happen.
        options: Fields of `ControlsConfig`, such as ``controls=("none", "untrained")`` or ``seeds=(0, 1, 2)``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    settings = dict(options)
    for name, given in (("model", model), ("task", task), ("other_task", other_task)):
        if isinstance(given, str):
            settings[name] = given
    base = config.model_dump(exclude_unset=True) if config else {}
    resolved: ControlsConfig = make_config(ControlsConfig, {**base, **settings}, "the controls")
    check_cell(resolved.comparison(recipe=resolved.recipe))
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    with directory as folder:
        subject = load_subject(resolved, model, task)
        study = _run(subject.named(resolved), subject, other_task, say or (lambda line: None))
        if folder is not None:
            _write(folder, study)
    return study


def _run(
    config: ControlsConfig, subject: Subject, other_task: str | Task | None, say: Callable[[str], None]
) -> ControlsStudy:
    start = time.perf_counter()
    comparison = config.comparison(recipe=config.recipe)
    other = _other_task(config, subject.task, other_task) if "other_task" in config.controls else None
    cells = [prepare_cell(config, subject.model, subject.task, seed) for seed in config.seeds]
    checked = self_check(subject.model)
    if not checked.held:
        say("warning: the self-check failed; see iclprobe check")
    planned = [(cells[0], [comparison] * len(config.controls))]
    say(estimate_comparisons(subject.model, planned).describe())
    draws: dict[ControlName, list[Draw]] = {control: [] for control in config.controls}
    labels_changed: list[int] = []
    zero_shot: ZeroShot | None = None
    for cell in cells:
        drawn = ControlledDraw(comparison, subject, cell, zero_shot)
        for control in config.controls:
            try:
                draws[control].append(drawn.compare(control, other))
            except UserError as error:
                raise UserError(f"under the control {shown(control)}, seed {cell.seed}: {error}") from error
        if "permuted_labels" in config.controls:
            labels_changed.append(changed_labels(cell, drawn.permuted))
        zero_shot = drawn.zero_shot
    return ControlsStudy(
        config,
        {control: tuple(results) for control, results in draws.items()},
        tuple(labels_changed),
        None if other is None else other.name,
        provenance(
            subject.model,
            subject.task,
            config,
            captures_manifest=dict(zero_shot.capture.manifest) if zero_shot else {},
            self_check=checked.to_dict(),
            seconds=time.perf_counter() - start,
        ),
    )


def _other_task(config: ControlsConfig, task: Task, given: str | Task | None) -> Task:
    if isinstance(given, Task):
        return given
    if config.other_task is None:
        return next_task_without_network(task)
    if config.other_task == task.name:
        raise UserError(
            f"the other task is {shown(task.name)} itself: name another with other_task (--other-task)"
        )
    return load_task(config.other_task, data=config.other_data)


def _write(folder: Path, study: ControlsStudy) -> None:
    write_study(
        folder,
        config=study.config.model_copy(update={"recipe": load_recipe(study.config.recipe)}),
        results=study.results(),
        table=study.table(),
        frames={"controls": study.to_pandas()},
        figures={"controls": study.plot()},
        provenance=study.provenance,
    )
