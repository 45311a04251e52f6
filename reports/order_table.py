"""The table of a study of order sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..analyses.arms.order import OrderStudy
from ..analyses.arms.series import ICL, Series
from ..analyses.prompt_text import prompt_lines
from .plain_table import aligned, number

_WORDS = {
    "sum_std": "standard deviation of each token's probability over orders, summed over tokens",
    "sum_var": "variance of each token's probability over orders, summed over tokens",
    "mean_std": "standard deviation of each token's probability over orders, mean over tokens",
    "l2": "Euclidean norm of the standard deviations of the tokens' probabilities over orders",
}


def order_text(study: OrderStudy) -> str:
    """Return the table as plain text: one row an arm and learning rate, a block a model."""
    sensitivity = study.series("sensitivity")
    labels, vocabulary = study.series("accuracy_labels"), study.series("accuracy_vocabulary")
    lines: list[str] = []
    for model in dict.fromkeys(entry.model for entry in sensitivity):
        rows = [
            _cells(values, right, whole)
            for values, right, whole in zip(sensitivity, labels, vocabulary, strict=True)
            if values.model == model
        ]
        header = [
            "arm",
            "learning rate",
            "epochs",
            "Sen",
            "most over epochs",
            "accuracy %",
            "over vocabulary %",
        ]
        lines += [_title(study, model), "", *aligned(header, rows), ""]
    return "\n".join([*lines, *_notes(study, sensitivity), *prompt_lines(study.prompts)])


def spread(values: np.ndarray, form: str = ".3g", scale: float = 1.0) -> str:
    """Return mean ± population standard deviation of what is defined; a dash of nothing."""
    defined = scale * values[~np.isnan(values)]
    if not len(defined):
        return "–"
    mean = number(float(defined.mean()), form)
    return (
        mean
        if len(defined) == 1
        else f"{mean} ± {number(float(defined.std()), '.2g' if 'g' in form else form)}"
    )


def draws(seeds: Sequence[int]) -> str:
    """Return the number of draws in words."""
    return f"{len(seeds)} draw{'s' * (len(seeds) != 1)}"


def diverged_note(series: Sequence[Series]) -> list[str]:
    """Say which arms diverged with which rates, and on how many draws."""
    models, shots = {entry.model for entry in series}, {entry.shots for entry in series}
    found = [
        f"{entry.arm} at {entry.rate_name}"
        + (f" with {entry.shots} shots" if len(shots) > 1 else "")
        + (f" of {entry.model}" if len(models) > 1 else "")
        + f" ({entry.diverged} of {len(entry.values)} runs)"
        for entry in series
        if entry.diverged and entry.learning_rates
    ]
    return [f"diverged and left out: {'; '.join(found)}"] if found else []


def _title(study: OrderStudy, model: str) -> str:
    row = next(row for row in study.rows if row.model == model)
    used = sorted({entry.demonstrations for entry in study.rows if entry.model == model})
    shown = f"{row.shots} demonstrations"
    if used != [row.shots]:
        shown = f"{_range(used)} of {row.shots} demonstrations (the others do not fit)"
    orders = sorted({entry.orders for entry in study.rows if entry.model == model})
    return f"{model} · {row.task} · {shown} in {_range(orders)} orders · {row.queries} queries"


def _range(values: Sequence[int]) -> str:
    return "–".join(map(str, dict.fromkeys((values[0], values[-1]))))


def _cells(values: Series, labels: Series, vocabulary: Series) -> list[str]:
    epochs = "–" if values.arm == ICL else str(values.epochs[-1])
    return [
        values.arm,
        values.rate_name,
        epochs,
        spread(values.values[:, -1]),
        "–" if values.arm == ICL else spread(values.most),
        spread(labels.values[:, -1], ".1f", 100),
        spread(vocabulary.values[:, -1], ".1f", 100),
    ]


def _notes(study: OrderStudy, series: Sequence[Series]) -> list[str]:
    config = study.config
    kind = "population" if config.ddof == 0 else "sample"
    tokens = "" if config.top_k is None else f" of the {config.top_k} most probable tokens"
    notes = [
        f"Sen: {_WORDS[config.aggregate]}{tokens} ({config.aggregate}, {kind} spread), mean over queries",
        f"mean ± std over {draws(config.seeds)} of demonstrations"
        + (" and the layers drawn" if any(row.layer is not None for row in study.rows) else "")
        + "; Sen and accuracy after the last epoch",
    ]
    layers = _layers(study)
    if layers:
        notes.append(layers)
    return [*notes, *diverged_note(series)]


def _layers(study: OrderStudy) -> str:
    drawn = dict.fromkeys((row.model, row.arm, row.layer) for row in study.rows if row.layer is not None)
    arms = dict.fromkeys((model, arm) for model, arm, _ in drawn)
    several = len({model for model, _ in arms}) > 1
    parts = [
        f"{arm}{f' of {model}' if several else ''}: "
        + ", ".join(str(layer) for name, own, layer in drawn if (name, own) == (model, arm))
        for model, arm in arms
    ]
    return f"layers drawn, counted from 0: {'; '.join(parts)}" if parts else ""
