"""What rows of a study of arms have in common, and what is told of its models, layers and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ...study.series import Series
from ..context import Context
from ..prompt import PromptView
from ..prompt_text import prompt_manner
from ..subject import Subject, named_task
from .config import ArmsConfig
from .finetuning import Arm


def arm_key(
    subject: Subject, shots: int, seed: int, name: str, arm: Arm | None, rate: float | None, epoch: int | None
) -> dict[str, Any]:
    """Return what tells a row from the others.

    Args:
        subject: The model and the task.
        shots: Demonstrations asked for.
        seed: The draw's.
        name: What the arm is called.
        arm: The arm; None of ICL and zero-shot.
        rate: The learning rate, if there is one.
        epoch: The epoch, if there is one.
    """
    return {
        "model": subject.model.name,
        "task": subject.task.name,
        "shots": shots,
        "seed": seed,
        "arm": name,
        "layer": None if arm is None else arm.layer,
        "learning_rate": rate,
        "chosen": arm is not None and arm.chosen,
        "epoch": epoch,
    }


def named_config(config: Any, subject: Subject, context: Context) -> Any:
    """Return a configuration that names the task that was run, and a model that was in memory.

    Args:
        config: The configuration, which may name several models.
        subject: What one of them was run on.
        context: What was in memory.
    """
    named = config.model_copy(update=named_task(subject.task))
    return named.model_copy(update={"model": subject.model.name}) if "model" in context.given else named


def arm_facts(
    config: ArmsConfig, rows: Frame, demonstrations: str, views: Sequence[PromptView]
) -> list[dict[str, str]]:
    """Return what was run, as rows of the facts.

    Args:
        config: What was asked.
        rows: The study's rows.
        demonstrations: What was shown and trained on.
        views: The first prompt of each model.
    """
    by_model = rows.drop_duplicates("model")
    queries = dict.fromkeys(str(count) for count in by_model["queries"])
    told = [
        ("model", ", ".join(by_model["model"])),
        ("task", str(rows["task"].iloc[0])),
        ("demonstrations", f"{demonstrations}, seeds {', '.join(map(str, config.seeds))}"),
        ("queries", ", ".join(queries)),
        ("layers drawn", _layers(rows)),
        *(("prompt", manner) for manner in dict.fromkeys(prompt_manner(view) for view in views)),
    ]
    return [{"name": name, "text": text} for name, text in told if text]


def _layers(rows: Frame) -> str:
    """Return which layers were drawn for which arm; nothing where none was."""
    drawn = rows[rows["layer"].notna()]
    several = drawn["model"].nunique() > 1
    parts = []
    for (model, arm), of_arm in drawn.groupby(["model", "arm"], sort=False):
        layers = ", ".join(str(layer) for layer in of_arm["layer"].unique())
        parts.append(f"{arm}{f' of {model}' if several else ''}: {layers}")
    return f"{'; '.join(parts)} (counted from 0)" if parts else ""


def diverged_warnings(series: Sequence[Series]) -> tuple[Finding, ...]:
    """Say which arms diverged with which rates, and in how many runs.

    Args:
        series: Any measure of every arm and rate.
    """
    models, shots = {entry.model for entry in series}, {entry.shots for entry in series}
    found = [
        f"{entry.arm} at {entry.rate_name}"
        + (f" with {entry.shots} shots" if len(shots) > 1 else "")
        + (f" of {entry.model}" if len(models) > 1 else "")
        + f" ({entry.diverged} of {len(entry.values)} runs)"
        for entry in series
        if entry.diverged and entry.learning_rates
    ]
    return (Finding("diverged", f"diverged and left out: {'; '.join(found)}", "warning"),) if found else ()


def series_finding(
    series: Series,
    several: Sequence[str],
    name: str,
    unit: str = "",
    scale: float = 1.0,
    null: float = float("nan"),
) -> Finding:
    """Return a measure after the last epoch: mean over draws and drawn layers, give or take one deviation.

    Args:
        series: The measure over epochs.
        several: Of ``model`` and ``shots``, those of which the study has several.
        name: What the measure is called.
        unit: What it is in.
        scale: What its values are multiplied by to be in that.
        null: What it would be if there were nothing to find.
    """
    mean, std = scale * float(series.mean[-1]), scale * float(series.std[-1])
    runs = len(series.values) - series.diverged
    where: dict[str, str | int] = {name: getattr(series, name) for name in several}
    where["arm"] = series.arm
    told = "" if series.epochs[-1] is None else f" after epoch {series.epochs[-1]}"
    if series.learning_rates:
        where["learning rate"] = "auto" if series.chosen else series.rate_name
        told = f" at {series.rate_name}{told}"
    if "shots" in several:
        told += f", {series.shots} shots"
    if "model" in several:
        told += f", {series.model}"
    shown = "undefined" if mean != mean else f"{mean:.3g}{f' {unit}' if unit else ''}"
    more = f" (± {std:.2g} over {runs} draws and layers)" if runs > 1 else ""
    low, high = (mean - std, mean + std) if runs > 1 else (float("nan"), float("nan"))
    basis = f"one standard deviation over {runs} draws and drawn layers" if runs > 1 else ""
    sentence = f"{name} of {series.arm}{told}: {shown}{more}"
    return Finding(name, sentence, "result", mean, low, high, null, unit, basis, where)


def what_varies(rows: Frame) -> tuple[str, ...]:
    """Name which of ``model`` and ``shots`` a study has several of."""
    return tuple(name for name in ("model", "shots") if rows[name].nunique() > 1)
