"""What one draw of demonstrations leaves: rows of every table of a comparison."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...probes import Agreement, calibrated_prediction, mean_and_std, prediction_changes
from ...study.columns import Frame
from ..prompt_table import prompt_rows
from .draw import SETTINGS, Draw, FinetunedSetting
from .measures import Intervals, head_profiles_of, layer_profiles_of, measures_of, resampled_of
from .tables import COMPARISON_TABLES

Key = Mapping[str, Any]
"""What tells comparisons apart, such as the recipe and the number of shots: the first columns of every table."""
Rows = Mapping[str, Frame]
"""Rows of every table by its name."""


def comparison_rows(
    draws: Sequence[Draw],
    key: Key,
    agreement: Agreement,
    intervals: Intervals,
    facts: Sequence[tuple[str, str]],
) -> dict[str, Frame]:
    """Return the rows of every table that the draws of one comparison leave.

    Args:
        draws: One draw a seed.
        key: What tells the comparison apart.
        agreement: What counts as a shared change of prediction.
        intervals: How intervals are made.
        facts: What was run, as name and text.
    """
    tables = joined_rows([_draw_rows(draw, agreement, intervals) for draw in draws])
    views = [draw.prompt for draw in draws[:1] if draw.prompt is not None]
    tables |= {
        "over_draws": over_draws_rows(tables["measures"]),
        "prompts": _frame("prompts", prompt_rows(views)),
        "cell_facts": _frame("cell_facts", [{"name": name, "text": text} for name, text in facts]),
    }
    return {name: frame.assign(**key)[[*key, *frame.columns]] for name, frame in tables.items()}


def joined_rows(parts: Iterable[Rows]) -> dict[str, Frame]:
    """Return the rows of several draws, or of several comparisons, below each other."""
    import pandas

    parts = list(parts)
    return {
        name: pandas.concat([part[name] for part in parts if len(part[name])] or [parts[0][name]])
        for name in parts[0]
    }


def over_draws_rows(measures: Frame) -> Frame:
    """Return mean and standard deviation over draws of each measure of one comparison."""
    rows = []
    for name, found in measures.groupby("measure", sort=False):
        spread = mean_and_std(torch.tensor(found["value"].to_numpy(dtype=float)))
        rows.append(
            {
                "measure": name,
                "unit": found["unit"].iloc[0],
                "mean": float(spread.mean),
                "std": float(spread.std),
                "draws": int(spread.count),
            }
        )
    return _frame("over_draws", rows)


def _draw_rows(draw: Draw, agreement: Agreement, intervals: Intervals) -> dict[str, Frame]:
    tables: dict[str, Any] = {
        "measures": [dataclasses.asdict(measure) for measure in measures_of(draw, agreement, intervals)],
        "layers": _layers(draw, intervals),
        "heads": [
            {"layer": layer, "head": head, "measure": name, "value": value}
            for name, profile in head_profiles_of(draw).items()
            for layer, heads in zip(draw.layers, profile.tolist(), strict=True)
            for head, value in enumerate(heads)
        ],
        "queries": {
            "query": range(len(draw.gold)),
            "query_index": draw.query_indices,
            "text": draw.queries,
            "gold": _labels(draw, draw.gold),
        },
        "answers": _answers(draw),
        "label_logprobs": _label_logprobs(draw),
        "similarities": _similarities(draw),
        "null_draws": [
            {"null": kind, "null_draw": number, "layer": layer, "value": value}
            for kind, null in draw.nulls.items()
            for number, profile in enumerate(null.draw_profiles.tolist())
            for layer, value in zip(draw.layers, profile, strict=True)
        ],
        "draws": [_draw(draw, agreement)],
        **_finetuning(draw),
        "noise": _noise(draw),
    }
    return {name: _frame(name, rows, seed=draw.seed) for name, rows in tables.items()}


def _frame(name: str, rows: Any, **first: Any) -> Frame:
    """Return rows, or columns by their names, as a data frame with the columns of a table."""
    import pandas

    columns = next(
        [column.name for column in table.columns] for table in COMPARISON_TABLES if table.name == name
    )
    frame = pandas.DataFrame(rows).rename(columns={"name": "measure"} if name == "measures" else {})
    return frame.assign(**first).reindex(columns=columns)


def _labels(draw: Draw, options: Tensor) -> list[str]:
    return [draw.label_names[option] for option in options.tolist()]


def _layers(draw: Draw, intervals: Intervals) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer,
            "measure": profile.name,
            "value": float(profile.value[place]),
            "low": float(profile.low[place]),
            "high": float(profile.high[place]),
            "defined": int(profile.defined[place]),
            "of": profile.of,
        }
        for profile in layer_profiles_of(draw, intervals)
        for place, layer in enumerate(draw.layers)
    ]


def _answers(draw: Draw) -> list[dict[str, Any]]:
    rows = []
    for setting in SETTINGS:
        said = draw.answers[setting]
        calibrated = calibrated_prediction(said.label_logprobs) == draw.gold
        columns = (_labels(draw, said.prediction), said.correct, calibrated, said.correct_vocabulary)
        rows += [
            {
                "query": query,
                "setting": setting,
                "prediction": prediction,
                "correct": bool(correct),
                "correct_calibrated": bool(of_calibrated),
                "correct_vocabulary": bool(of_vocabulary),
            }
            for query, (prediction, correct, of_calibrated, of_vocabulary) in enumerate(
                zip(*columns, strict=True)
            )
        ]
    return rows


def _label_logprobs(draw: Draw) -> dict[str, Any]:
    n, options = draw.answers["zsl"].label_logprobs.shape
    return {
        "query": np.tile(np.repeat(np.arange(n), options), len(SETTINGS)),
        "setting": np.repeat(SETTINGS, n * options),
        "label": list(draw.label_names) * (n * len(SETTINGS)),
        "logprob": np.concatenate(
            [draw.answers[setting].label_logprobs.double().numpy().reshape(-1) for setting in SETTINGS]
        ),
    }


def _similarities(draw: Draw) -> dict[str, Any]:
    n, layers = draw.sim_aou.values.shape
    return {
        "query": np.repeat(np.arange(n), layers),
        "layer": np.tile(draw.layers, n),
        **{name: values.numpy().reshape(-1) for name, values in resampled_of(draw).items()},
    }


def _draw(draw: Draw, agreement: Agreement) -> dict[str, Any]:
    zsl, icl, ft = (draw.answers[setting].prediction for setting in SETTINGS)
    changes = prediction_changes(zsl, icl, ft, draw.gold, agreement)
    train, validation = draw.records_left_out
    return {
        "demonstrations_used": draw.demonstrations_used,
        "demonstrations_asked": draw.demonstrations_asked,
        "queries": len(draw.gold),
        "queries_skipped": draw.queries_skipped,
        "train_left_out": train,
        "validation_left_out": validation,
        "seen_queries": draw.seen_queries,
        "separator_unknown": draw.separator_unknown,
        "record_notes": json.dumps(draw.record_notes, ensure_ascii=False),
        **{name: value for name, value in dataclasses.asdict(changes).items() if name != "agreement"},
    }


def _finetuning(draw: Draw) -> dict[str, Any]:
    finetuned = draw.finetuned
    run = finetuned.finetuning
    losses = () if run is None else run.losses
    return {
        "finetuning": [finetuning_row(finetuned)],
        "losses": [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)],
        "evaluations": [dataclasses.asdict(evaluation) for evaluation in finetuned.evaluations],
        "rate_search": _rate_search(draw),
        "finetuning_drift": [
            {"layer": row.layer, "matrix": row.matrix, **dataclasses.asdict(row.drift)}
            for row in finetuned.drift
        ],
    }


def finetuning_row(finetuned: FinetunedSetting) -> dict[str, Any]:
    """Return where the weights of one draw came from, as the table of finetunings has it."""
    run, choice = finetuned.finetuning, finetuned.choice
    return {
        "source": finetuned.source,
        "trained_parameters": finetuned.trained_parameters,
        "learning_rate": math.nan if run is None else run.learning_rate,
        "steps": None if run is None else run.steps,
        "first_loss": math.nan if run is None else run.first_loss,
        "final_loss": math.nan if run is None else run.final_loss,
        "rate_searched": choice is not None,
        "baseline_held_out_nll": math.nan if choice is None else choice.baseline_nll,
    }


def _rate_search(draw: Draw) -> list[dict[str, Any]]:
    choice = draw.finetuned.choice
    if choice is None:
        return []
    tried = dict(zip(choice.candidates, choice.held_out_nll, strict=True))
    return [
        {
            "learning_rate": rate,
            "outcome": _outcome(rate, tried, choice.chosen),
            "held_out_nll": tried.get(rate, math.nan),
        }
        for rate in sorted({*choice.offered, *tried})
    ]


def _outcome(rate: float, tried: Mapping[float, float], chosen: float) -> str:
    if rate not in tried:
        return "not tried"
    if rate == chosen:
        return "chosen"
    nll = tried[rate]
    return "stopped" if math.isnan(nll) else "diverged" if math.isinf(nll) else "tried"


def _noise(draw: Draw) -> dict[str, Any] | list[Any]:
    noise = draw.noise
    if noise is None:
        return []
    return {
        "layer": draw.layers,
        **{name: getattr(noise, name).double().numpy() for name in ("floor", "icl_below", "ft_below")},
    }
