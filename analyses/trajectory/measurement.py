"""Measuring a comparison along finetuning, at every step asked for, learning rate and number of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...hooks.self_check import self_check
from ...models.recipe import Recipe, load_recipe
from ..cell import Cell, prepare_cell
from ..comparison.estimate import estimate_comparisons
from ..comparison.facts import task_fact
from ..comparison.measures import Intervals
from ..comparison.pretrained import ZeroShot, record_pretrained
from ..comparison.query_values import by_query, interval_of
from ..comparison.settings import answers_of, require_comparable
from ..configuration import CellConfig
from ..context import Context, Measured
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows
from ..subject import Subject
from .along import Look, answer_values, look_along
from .config import TrajectoryConfig
from .findings import trajectory_findings
from .matching import Point, matched_rows, measure_rows
from .names import ACCURACY, CALIBRATED
from .tables import MATCHED, POINTS

Looks = dict[tuple[float, int], list[tuple[int, Look]]]
"""What was seen at each rate and step, with the place of the draw."""


def check_trajectory(config: TrajectoryConfig) -> None:
    """Refuse what cannot be followed before anything is loaded.

    Raises:
        UserError: If the plan leaves out what is needed, or the recipe cannot be read.
    """
    require_comparable(config)
    followed_recipe(config)


def followed_recipe(config: TrajectoryConfig) -> Recipe:
    """Return the recipe with the study's epochs in it.

    Raises:
        UserError: If it cannot be read.
    """
    recipe = load_recipe(config.recipe)
    return recipe if config.epochs is None else recipe.model_copy(update={"epochs": config.epochs})


def measure_trajectory(config: TrajectoryConfig, context: Context) -> Measured:
    """Compare the model with in-context learning along its finetuning.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If something asked for cannot be done, or no rate gets to a step that is looked at.
    """
    recipe = followed_recipe(config)
    by_shots = {
        shots: config.comparison(shots=shots, recipe=recipe, learning_rate=None) for shots in config.shots
    }
    subject = context.subject(by_shots[config.shots[0]])
    by_shots = {shots: subject.named(one) for shots, one in by_shots.items()}
    cells = {
        shots: [prepare_cell(one, subject.model, subject.task, seed) for seed in config.seeds]
        for shots, one in by_shots.items()
    }
    checked = self_check(subject.model)
    if not checked.held:
        context.say("warning: the self-check failed; see iclprobe check")
    rated = [
        (cells[shots][0], [one.model_copy(update={"learning_rate": rate}) for rate in config.learning_rate])
        for shots, one in by_shots.items()
    ]
    context.say(f"{estimate_comparisons(subject.model, rated).describe()}, and a look at all queries a step")
    intervals = Intervals(config.resamples, config.level)
    points: list[Point] = []
    alone: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    icl_accuracy: dict[int, Tensor] = {}
    for shots, one in by_shots.items():
        found, settings, looks = _follow(config, recipe, one, subject, cells[shots], runs)
        indices = [cell.queries for cell in cells[shots]]
        points += _points(shots, indices, looks)
        icl_accuracy[shots] = found
        alone += [{"shots": shots, **row} for row in _setting_rows(settings, indices, intervals)]
    if not points:
        raise UserError(
            "finetuning diverged at every learning rate before a step that is looked at: take smaller rates (--lr), "
            "or earlier steps (--steps)"
        )
    view = view_prompt(subject.model, subject.task, cells[config.shots[0]][0])
    seen = POINTS.frame([row for point in points for row in measure_rows(point, intervals)])
    matched = MATCHED.frame(matched_rows(points, icl_accuracy, intervals))
    named = by_shots[config.shots[0]]
    resolved = config.model_copy(
        update={
            "recipe": recipe,
            **{name: getattr(named, name) for name in ("model", "task", "chat_template")},
        }
    )
    return Measured(
        resolved,
        {
            "points": seen,
            "matched": matched,
            "settings": alone,
            "runs": runs,
            "prompts": prompt_rows([view]),
            "facts": [*_facts(resolved, recipe, subject, cells), *prompt_facts([view])],
        },
        tuple(trajectory_findings(matched, runs, intervals)),
        provenance={"self_check": checked.to_dict()},
    )


Settings = dict[str, list[dict[str, Tensor]]]
"""Answers of zero-shot and ICL in each draw, by setting."""


def _follow(
    config: TrajectoryConfig,
    recipe: Recipe,
    comparison: CellConfig,
    subject: Subject,
    cells: Sequence[Cell],
    runs: list[dict[str, Any]],
) -> tuple[Tensor, Settings, Looks]:
    """Follow every rate on every draw of one number of shots; also return whether ICL was right."""
    looks: Looks = {}
    settings: Settings = {"zsl": [], "icl": []}
    earlier: ZeroShot | None = None
    for place, cell in enumerate(cells):
        pretrained = record_pretrained(comparison, subject.model, cell, earlier=earlier)
        earlier = pretrained.zero_shot
        gold = torch.tensor(cell.prompts.zero_shot.gold)
        icl = answers_of(pretrained.icl, gold)
        for name, capture in (("zsl", earlier.capture), ("icl", pretrained.icl)):
            settings[name].append(answer_values(answers_of(capture, gold), icl, gold))
        for rate in config.learning_rate:
            seen, ended = look_along(comparison, recipe, rate, config.steps, subject, cell, pretrained)
            for look in seen:
                looks.setdefault((rate, look.step), []).append((place, look))
            runs.append(
                {
                    "shots": comparison.shots,
                    "seed": cell.seed,
                    "learning_rate": rate,
                    "ended": ended,
                    "last_step": seen[-1].step if seen else None,
                    "last_loss": seen[-1].loss if seen else None,
                }
            )
    right = by_query([cell.queries for cell in cells], [found[ACCURACY] for found in settings["icl"]])
    return right, settings, looks


def _points(shots: int, indices: Sequence[Sequence[int]], looks: Looks) -> list[Point]:
    """Return what was seen as points over all draws, by rate and step."""
    points = []
    for (rate, step), seen in sorted(looks.items()):
        values = {
            measure: by_query(indices, [_own(place, measure, seen, indices) for place in range(len(indices))])
            for measure in seen[0][1].values
        }
        points.append(Point(shots, rate, step, values, len(seen)))
    return points


def _own(
    place: int, measure: str, seen: Sequence[tuple[int, Look]], indices: Sequence[Sequence[int]]
) -> Tensor:
    """Return a measure of one draw, NaN where the draw did not get there."""
    found = next((look.values[measure] for where, look in seen if where == place), None)
    layers = seen[0][1].values[measure].shape[1]
    return torch.full((len(indices[place]), layers), torch.nan) if found is None else found


def _setting_rows(
    settings: Settings, indices: Sequence[Sequence[int]], intervals: Intervals
) -> list[dict[str, Any]]:
    rows = []
    for setting, draws in settings.items():
        for measure in (ACCURACY, CALIBRATED):
            values = by_query(indices, [found[measure] for found in draws])
            counts = {"queries": len(values), "draws": len(draws)}
            ends = interval_of(values, measure, intervals)
            rows.append({"setting": setting, "measure": measure, "unit": "%", **ends, **counts})
    return rows


def _facts(
    config: TrajectoryConfig, recipe: Recipe, subject: Subject, cells: Mapping[int, Sequence[Cell]]
) -> list[dict[str, str]]:
    facts = {
        "model": config.model,
        "task": task_fact(config.task, subject.task.label_names, config.template),
        "demonstrations": f"{', '.join(map(str, cells))} shots, seeds {', '.join(map(str, config.seeds))}",
        "queries": str(len(next(iter(cells.values()))[0].queries)),
        "finetuning": f"{recipe.name}: {recipe.parameters}, {recipe.describe()}",
        "learning rates": ", ".join(f"{rate:g}" for rate in config.learning_rate),
    }
    return [{"name": name, "text": text} for name, text in facts.items()]
