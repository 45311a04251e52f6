"""What was run, as a person reads it: of one comparison, and of several side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ...study.names import MATRIX_NAMES
from ..configuration import CellConfig
from ..prompt_text import prompt_fact
from .draw import Draw, FinetunedSetting
from .finetuned import comparison_recipe

Facts = tuple[tuple[str, str], ...]


def facts_of_several(cells: Sequence[tuple[str, CellConfig, Sequence[Draw]]], series: bool = False) -> Facts:
    """Return what was run in several comparisons that differ in what is finetuned and in shots, as name and value.

    Args:
        cells: Of each comparison the name of what is finetuned, its configuration and its draws.
        series: Whether all that is finetuned are the checkpoints of one training run.
    """
    _, config, draws = cells[0]
    shared = dict(facts_of(config, draws))
    shots = ", ".join(str(count) for count in dict.fromkeys(cell.shots for _, cell, _ in cells))
    seeds = ", ".join(map(str, config.seeds))
    recipes: dict[str, str] = {}
    for name, cell, found in cells:
        setting = found[0].finetuned
        if cell.finetuned is not None:
            recipes.setdefault(name, _finetuning([setting]))
            continue
        recipe = comparison_recipe(cell)
        trained = f"{setting.trained_parameters:,} parameters"
        recipes.setdefault(name, f"{recipe.parameters} ({trained}), {recipe.describe()}")
    if series:
        first, *_, last = recipes.values()
        text = f"{len(recipes)} checkpoints of one training run; the first: {first}; the last: {last}"
        recipes = {"series": text}
    return (
        *((name, shared[name]) for name in ("model", "task", "records", "prompt") if name in shared),
        ("demonstrations", f"{shots} shots, seed{'s' * (len(config.seeds) > 1)} {seeds}"),
        ("queries", shared["queries"]),
        *recipes.items(),
    )


def facts_of(config: CellConfig, draws: Sequence[Draw]) -> Facts:
    """Return what was run in one comparison, as name and value."""
    facts = [
        ("model", _model(config, draws[0])),
        ("task", task_fact(config.task, draws[0].label_names, config.template)),
        *(("prompt", prompt_fact(draw.prompt)) for draw in draws[:1] if draw.prompt is not None),
        ("demonstrations", _demonstrations(config, draws)),
        ("queries", _queries(draws)),
        *finetuning_facts(config, [draw.finetuned for draw in draws]),
    ]
    if draws[0].record_notes:
        facts.insert(2, ("records", "; ".join(draws[0].record_notes)))
    if any(draw.noise for draw in draws):
        facts.append(("noise floor", _noise(draws)))
    return tuple(facts)


def finetuning_facts(config: CellConfig, settings: Sequence[FinetunedSetting]) -> Facts:
    """Return how it was finetuned: the recipe and its losses, the learning rate, what moved how far.

    Args:
        config: The comparison.
        settings: Where the weights of each draw came from.
    """
    facts = [("finetuning", _finetuning(settings)), ("learning rate", _learning_rate(config, settings))]
    if settings[0].drift:
        facts.append(("finetuning moved", _moved(settings)))
    return tuple(facts)


def _each(texts: Iterable[str]) -> str:
    """Say once what is the same for every draw, else list it in the order of the draws."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _model(config: CellConfig, draw: Draw) -> str:
    parts = [config.model]
    if config.revision:
        parts.append(f"revision {config.revision}")
    if config.adapter:
        parts.append(f"adapter {config.adapter}")
    zero_shot = draw.manifest.get("zsl", {})
    parts += [str(zero_shot[key]) for key in ("dtype", "device") if key in zero_shot]
    recorded = "layer" if len(draw.layers) == 1 else "layers"
    return ", ".join([*parts, f"{len(draw.layers)} {recorded} recorded"])


def task_fact(task: str, label_names: Sequence[str], name: str | None) -> str:
    """Return a task with its labels, and its template's name or text where there is one to name."""
    # A template's text is quoted: its line breaks are part of it.
    shown = json.dumps(name, ensure_ascii=False) if name and "{" in name else name
    template = f", template {shown}" if shown else ""
    return f"{task} ({', '.join(label_names)}){template}"


def _demonstrations(config: CellConfig, draws: Sequence[Draw]) -> str:
    used = _each(str(draw.demonstrations_used) for draw in draws)
    asked = _each(str(draw.demonstrations_asked) for draw in draws)
    seeds = ", ".join(str(draw.seed) for draw in draws)
    order = f", order {config.order}" if config.order is not None else ""
    balanced = ", balanced" if config.balanced else ""
    return f"{used} of {asked} shots used, seed{'s' * (len(draws) > 1)} {seeds}{order}{balanced}"


def _queries(draws: Sequence[Draw]) -> str:
    skipped = _each(str(draw.queries_skipped) for draw in draws)
    train, validation = draws[0].records_left_out
    notes = [] if skipped == "0" else [f"{skipped} skipped, too long on their own"]
    if train or validation:
        notes.append(
            f"{train} training and {validation} validation records left out, over the limit of tokens"
        )
    if draws[0].seen_queries:
        notes.append(f"{draws[0].seen_queries} left out, which also stand in the training records")
    return _each(str(len(draw.gold)) for draw in draws) + (f" ({'; '.join(notes)})" if notes else "")


def _finetuning(settings: Sequence[FinetunedSetting]) -> str:
    setting, changed = settings[0], f"{settings[0].trained_parameters:,} parameters"
    runs = [each.finetuning for each in settings if each.finetuning is not None]
    if not runs:
        return f"{setting.source}, finetuned elsewhere; {changed} differ"
    recipe = runs[0].recipe
    losses = _each(f"{run.first_loss:.3f} → {run.final_loss:.3f}" for run in runs)
    again = (
        "; activations computed again in each backward pass" if any(run.recomputed for run in runs) else ""
    )
    return f"{setting.source}: {recipe.parameters} ({changed}), {recipe.describe()} {losses}{again}"


def _learning_rate(config: CellConfig, settings: Sequence[FinetunedSetting]) -> str:
    choices = [setting.choice for setting in settings if setting.choice is not None]
    if len(choices) == 1:
        return choices[0].describe().removeprefix("learning rate ")
    if choices:
        first = choices[0]
        return (
            f"{_each(f'{choice.chosen:g}' for choice in choices)}, each chosen of {len(first.offered)} "
            f"from {first.offered[0]:g} to {first.offered[-1]:g} by held-out label NLL"
        )
    runs = [setting.finetuning for setting in settings if setting.finetuning is not None]
    if not runs:
        return "unknown, finetuned elsewhere"
    asked = runs[0].recipe.learning_rate if config.learning_rate is None else config.learning_rate
    origin = "as published" if asked == "published" else "as given"
    return f"{_each(f'{run.learning_rate:g}' for run in runs)}, {origin}"


def _moved(settings: Sequence[FinetunedSetting]) -> str:
    rows = [row for setting in settings for row in setting.drift if row.drift.mean_absolute > 0]
    if not rows:
        return "no attention projection"
    parts = []
    for matrix in dict.fromkeys(row.matrix for row in rows):
        gaps = [row.drift.relative_frobenius for row in rows if row.matrix == matrix]
        parts.append(f"{MATRIX_NAMES[matrix]} by {_percent(sum(gaps) / len(gaps))}")
    most = max(rows, key=lambda row: row.drift.relative_frobenius)
    return (
        f"{', '.join(parts)} of its norm, most in {MATRIX_NAMES[most.matrix]} of layer {most.layer} "
        f"({_percent(most.drift.relative_frobenius)})"
    )


def _percent(fraction: float) -> str:
    """Two digits, but never an exponent for what is large."""
    return f"{100 * fraction:.0f}%" if fraction >= 0.1 else f"{100 * fraction:.2g}%"


def _noise(draws: Sequence[Draw]) -> str:
    floors = [draw.noise for draw in draws if draw.noise is not None]
    icl = _each(f"{100 * float(noise.icl_below.nanmean()):.1f}%" for noise in floors)
    ft = _each(f"{100 * float(noise.ft_below.nanmean()):.1f}%" for noise in floors)
    dtype = draws[0].manifest.get("zsl", {}).get("dtype", "half precision")
    return (
        f"in {dtype}, {icl} of the ICL and {ft} of the finetuning "
        "updates are no larger than what repeating the zero-shot run changes, and left out"
    )
