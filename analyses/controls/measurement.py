"""Measuring what is left of a comparison when one thing about it is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ...errors import UserError, shown
from ...hooks.self_check import self_check
from ...models.recipe import load_recipe
from ...study.columns import Frame
from ...study.finding import Finding
from ...tasks.catalogue import load_task
from ...tasks.task import Task
from ..cell import Cell, prepare_cell
from ..comparison.cells import check_cell
from ..comparison.draw import Draw
from ..comparison.estimate import estimate_comparisons
from ..comparison.facts import facts_of
from ..comparison.findings import comparison_findings, draw_warnings
from ..comparison.measures import Intervals
from ..comparison.pretrained import ZeroShot
from ..comparison.rows import comparison_rows, joined_rows
from ..context import Context, Measured
from ..subject import Subject
from .altered_cells import changed_labels, next_task_without_network
from .config import CONTROLS, ControlName, ControlsConfig
from .controlled_draw import ControlledDraw

Draws = Mapping[ControlName, Sequence[Draw]]
"""What was measured under each control, one a draw of demonstrations."""


def check_controls(config: ControlsConfig) -> None:
    """Refuse what cannot be compared before anything is loaded.

    Raises:
        UserError: If the plan leaves out what is needed, or the recipe cannot be read.
    """
    check_cell(config.comparison(recipe=config.recipe))


def measure_controls(config: ControlsConfig, context: Context) -> Measured:
    """Compare in-context learning with finetuning again under each control.

    Args:
        config: What is asked.
        context: The model, the task and the other task.

    Raises:
        UserError: If something asked for cannot be done.
    """
    subject = context.subject(config)
    config = subject.named(config).model_copy(update={"recipe": load_recipe(config.recipe)})
    other = _other_task(config, subject.task, context.given.get("other_task"))
    if other is not None:
        config = config.model_copy(update={"other_task": other.name})
    cells = [prepare_cell(config, subject.model, subject.task, seed) for seed in config.seeds]
    checked = self_check(subject.model)
    if not checked.held:
        context.say("warning: the self-check failed; see iclprobe check")
    comparison = config.comparison(recipe=config.recipe)
    planned = [(cells[0], [comparison] * len(config.controls))]
    context.say(estimate_comparisons(subject.model, planned).describe())
    draws, relabelled = _draws(config, subject, cells, other)
    tables, findings = _compared(config, draws)
    return Measured(
        config,
        {
            **tables,
            "controls": [
                {
                    "control": control,
                    "what": CONTROLS[control],
                    "other_task": config.other_task if control == "other_task" else None,
                }
                for control in config.controls
            ],
            "labels_changed": [asdict(row) for row in relabelled],
            "facts": _facts(config, draws, relabelled),
        },
        (*findings, *_unchanged(relabelled)),
        provenance={
            "captures": {
                control: {str(draw.seed): dict(draw.manifest) for draw in found}
                for control, found in draws.items()
            },
            "self_check": checked.to_dict(),
        },
    )


@dataclass(frozen=True)
class _Relabelled:
    """What permuting labels did to one draw: the row of its table."""

    seed: int
    labels_changed: int
    demonstrations: int


def _other_task(config: ControlsConfig, task: Task, given: Task | None) -> Task | None:
    """Return the task whose demonstrations stand in the context under ``other_task``, where that was asked for."""
    if "other_task" not in config.controls:
        return None
    if given is not None:
        return given
    if config.other_task is None:
        return next_task_without_network(task)
    if config.other_task == task.name:
        raise UserError(
            f"the other task is {shown(task.name)} itself: name another with other_task (--other-task)"
        )
    return load_task(config.other_task, data=config.other_data)


def _draws(
    config: ControlsConfig, subject: Subject, cells: Sequence[Cell], other: Task | None
) -> tuple[Draws, list[_Relabelled]]:
    """Compare every draw under every control."""
    comparison = config.comparison(recipe=config.recipe)
    draws: dict[ControlName, list[Draw]] = {control: [] for control in config.controls}
    relabelled: list[_Relabelled] = []
    zero_shot: ZeroShot | None = None
    for cell in cells:
        drawn = ControlledDraw(comparison, subject, cell, zero_shot)
        for control in config.controls:
            try:
                draws[control].append(drawn.compare(control, other))
            except UserError as error:
                raise UserError(f"under the control {shown(control)}, seed {cell.seed}: {error}") from error
        if "permuted_labels" in config.controls:
            changed = changed_labels(cell, drawn.permuted)
            relabelled.append(_Relabelled(cell.seed, changed, len(cell.demonstrations)))
        zero_shot = drawn.zero_shot
    return draws, relabelled


def _compared(config: ControlsConfig, draws: Draws) -> tuple[dict[str, Frame], list[Finding]]:
    """Return the rows of every table of comparisons, and what was found under each control."""
    comparison = config.comparison(recipe=config.recipe)
    intervals = Intervals(config.resamples, config.level)
    parts, findings = [], list[Finding]()
    warnings: dict[str, Finding] = {}
    for control, found in draws.items():
        key = {"control": control}
        rows = comparison_rows(found, key, config.agreement, intervals, facts_of(comparison, found))
        parts.append(rows)
        findings += [
            replace(finding, sentence=f"control {control}: {finding.sentence}")
            if finding.kind == "alarm"
            else finding
            for finding in comparison_findings(rows, key, intervals, only=False)
        ]
        # What limits the numbers is the same under every control.
        warnings |= {warning.sentence: warning for warning in draw_warnings(found, {})}
    return joined_rows(parts), [*findings, *warnings.values()]


def _unchanged(relabelled: Sequence[_Relabelled]) -> Iterator[Finding]:
    """Warn of draws in which there was nothing to permute."""
    for row in relabelled:
        if row.labels_changed == 0:
            yield Finding(
                "labels changed",
                f"the demonstrations of seed {row.seed} all have one label, so permuting labels changes nothing "
                "there",
                "warning",
                where={"control": "permuted_labels", "seed": row.seed},
            )


def _facts(config: ControlsConfig, draws: Draws, relabelled: Sequence[_Relabelled]) -> list[dict[str, str]]:
    """Return what was run, and what each control is."""
    # What was run is told of the comparison itself, where it is there.
    own = draws["none"] if "none" in draws else next(iter(draws.values()))
    facts = [
        (name, text)
        for name, text in facts_of(config.comparison(recipe=config.recipe), own)
        if name != "finetuning moved"
    ]
    counts = ", ".join(str(row.labels_changed) for row in relabelled)
    beside = {
        "permuted_labels": f" ({counts} of {config.shots} have another)",
        "other_task": f" ({config.other_task})",
    }
    controls = [
        (control.replace("_", " "), f"{CONTROLS[control]}{beside.get(control, '')}") for control in draws
    ]
    return [{"name": name, "text": text} for name, text in (*facts, *controls)]
