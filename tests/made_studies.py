"""Studies of every analysis, made by hand for what is drawn of them: small and large, with what is hard to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas
from made_arm_studies import gradients_study, order_study, outputs_study
from made_attention import made_rows
from made_draws import made_comparison, made_draw
from made_gathered import gather_study
from made_part_studies import implicit_update_study, parts_study
from made_study import LONG, study_of
from made_transfer_study import transfer_study
from made_weight_studies import drift_study, sparsity_study
from small_construction import small_study

from iclprobe.analyses.labels.effects import MEASURES as EFFECTS_READ
from iclprobe.analyses.labels.pairs import AGREEMENT, CALIBRATED_AGREEMENT, COSINE, PARTIAL_COSINE
from iclprobe.analyses.papers.catalogue import EXPERIMENTS
from iclprobe.analyses.papers.declaration import Experiment
from iclprobe.analyses.papers.views import PARTITION
from iclprobe.analyses.trajectory.names import UNITS
from iclprobe.reports.papers_figures import FIGURES
from iclprobe.study.names import DELTA, PARTIAL
from iclprobe.study.study import Study


@cache
def one_comparison() -> Any:
    return made_comparison([made_draw(layers=(0, 1, 2, 5), heads=3, frozen_layers=1)])


def compare_studies() -> dict[str, Any]:
    many = [made_draw(seed, n=6, layers=tuple(range(40)), heads=32) for seed in (0, 1, 2)]
    cells = {
        (recipe, shots): [made_draw(seed + shots, n=4) for seed in (0, 1)]
        for recipe in ("dai", "barnatan_lcft", "shen_sgd", LONG)
        for shots in (2, 8, 64)
    }
    return {
        "one draw": one_comparison(),
        "many layers and draws": made_comparison(many, model=f"somewhere/{LONG}", task="sst2"),
        "one layer": made_comparison([made_draw(layers=(0,), heads=1)]),
        "series": series_study((100, 200, 1000)),
        "several": made_comparison(cells, seeds=(0, 1)),
    }


def series_study(steps: Sequence[int]) -> Any:
    """A comparison of the checkpoints of one training run."""
    names = [f"checkpoint-{step}" for step in steps]
    cells = {(name, shots): [made_draw(shots, n=4)] for name in names for shots in (2, 8)}
    study, random = made_comparison(cells), np.random.default_rng(0)
    measures = ("SimAOU", PARTIAL, "SimAM after finetuning", DELTA, "accuracy, finetuned")
    rows = []
    for measure in measures:
        for shots in (2, 8):
            for place, (name, step) in enumerate(zip(names, steps, strict=True)):
                value = random.uniform(-0.5, 0.9) * (100 if "accuracy" in measure else 1)
                row = {"place": place, "recipe": name, "step": step, "shots": shots, "measure": measure}
                row |= {"value": value, "low": value - 0.2, "high": value + 0.1, "null": value / 3}
                rows.append({**row, "most": place == 1})
    series = pandas.DataFrame(rows)
    series["step"] = pandas.array(
        list(series["step"].astype(object).where(series["step"].notna(), None)), dtype="Int64"
    )
    return replace(study, tables={**study.tables, "series": series})


def controls_study() -> Any:
    measures = one_comparison().tables["over_draws"]["measure"]
    random = np.random.default_rng(0)
    controls = ("none", "untrained", "permuted_labels", "shuffled_prefix", "other_task", "random_update")
    rows = [
        {
            "control": control,
            "measure": measure,
            "mean": random.uniform(0, 100) if "accuracy" in measure else random.uniform(-0.2, 0.9),
            "std": random.uniform(0, 30) if "accuracy" in measure else random.uniform(0, 0.2),
            "draws": 2,
        }
        for control in controls
        for measure in measures
    ]
    options = {"model": "pocket", "task": "pocket-tone", "seeds": (0, 1), "shots": 8}
    return study_of("controls", {"over_draws": rows}, options)


def labels_study(variants: Sequence[str] = ("gold", "random", "flipped", "abstract")) -> Any:
    random = np.random.default_rng(0)

    def row(measure: str) -> dict[str, Any]:
        scale = 100 if "accuracy" in measure or "predictions" in measure else 1
        value, gap = random.uniform(0, 1) * scale, random.uniform(0, 0.2) * scale
        unit = {"unit": "%" if scale > 1 else "cosine", "queries": 40, "draws": 3}
        return {
            "measure": measure,
            "value": value,
            "low": max(0, value - gap),
            "high": min(scale, value + gap),
            **unit,
        }

    change = {"change": -3.0, "change_low": -9.0, "change_high": 2.0}
    effects = [
        {"variant": variant, **row(measure), **change} for variant in variants for measure in EFFECTS_READ
    ]
    pairs = [
        {"variant": one, "other": other, **row(measure)}
        for one, other in combinations(variants, 2)
        for measure in (AGREEMENT, CALIBRATED_AGREEMENT, COSINE, PARTIAL_COSINE)
    ]
    options = {"model": "pocket", "task": "pocket-tone", "seeds": (0, 1, 2), "shots": 8, "variants": variants}
    return study_of("labels", {"effects": effects, "pairs": pairs}, options)


def trajectory_study(shots: Sequence[int] = (16,), rates: Sequence[float] = (1e-3, 3e-3, 1e-2)) -> Any:
    random = np.random.default_rng(0)
    points, matched, settings = [], [], []
    ends = {"low": math.nan, "high": math.nan, "queries": 40, "draws": 3}
    for count in shots:
        for setting, value in (("zsl", 52.0), ("icl", 80.0)):
            for measure in ("accuracy", "calibrated accuracy"):
                row = {"shots": count, "setting": setting, "measure": measure, "unit": "%", "value": value}
                settings.append({**row, **ends})
        for rate in rates:
            for step in (1, 2, 4, 8, 16):
                for measure, unit in UNITS.items():
                    scale = 100 if unit == "%" else 1
                    row = {"shots": count, "learning_rate": rate, "step": step, "measure": measure}
                    points.append({**row, "unit": unit, "value": random.uniform(0, 1) * scale, **ends})
            last = points[-len(UNITS) :]
            for by in ("accuracy", "label KL"):
                known = {"by": by, "nearest": rate == rates[0], "distance": -3.0}
                known |= {"distance_low": -5.0, "distance_high": 1.0}
                matched += [
                    {name: v for name, v in row.items() if name not in ("queries", "draws")} | known
                    for row in last
                ]
    options = {"model": "pocket", "task": "pocket-tone", "seeds": (0, 1, 2), "shots": tuple(shots)}
    tables = {"points": points, "matched": matched, "settings": settings}
    return study_of("trajectory", tables, {**options, "learning_rate": tuple(rates)})


def attention_study(layers: int = 30, heads: int = 9, settings: Sequence[str] = ("zsl", "icl", "ft")) -> Any:
    random = np.random.default_rng(0)
    ranked = []
    for layer in range(layers):
        for head in range(heads):
            right = random.uniform(-0.1, 0.1) if layer else math.nan
            row = {"layer": layer, "head": head, "labels": random.uniform(0, 1), "right": right}
            row |= {"right_low": right - 0.05, "right_high": right + 0.05}
            permuted = random.uniform(-0.05, 0.05)
            row |= {"right_permuted": permuted, "right_permuted_low": permuted - 0.03}
            ranked.append({**row, "right_permuted_high": permuted + 0.03})
    parts = ("begin", "inputs", "labels", "separators", "query", "rest")
    shares = [
        {"control": "none", "seed": 0, "layer": layer, "part": part, "share": share, "even": 1 / len(parts)}
        for layer in range(layers)
        for part, share in zip(parts, random.dirichlet(np.ones(len(parts))), strict=True)
    ]
    finetuned = [
        {
            "layer": row["layer"],
            "head": row["head"],
            "labels": row["labels"],
            "label_head": row["labels"] > 0.9,
            "icl": random.uniform(0, 1),
            "ft": random.uniform(0, 0.1),
            "same": random.uniform(-1, 1) if row["layer"] else math.nan,
        }
        for row in ranked
        if "ft" in settings
    ]
    arrays, tokens = {}, []
    for setting in settings:
        rows = made_rows(2 if setting == "icl" else 0, 3, 4, layers=(0, 2), heads=heads, setting=setting)
        arrays[f"map-{setting}"] = {"values": rows.values, "visible": rows.visible}
        last = {"values": rows.values[:, :, -1:], "visible": rows.visible[:, :, -1:]}
        arrays[f"last-{setting}"] = last
        for group in (arrays[f"map-{setting}"], last):
            group |= {"layers": np.array(rows.layers), "heads": np.array(rows.heads)}
        for mark in rows.column_spans:
            tokens += [
                {"setting": setting, "text": text, "part": mark.name, "demonstration": mark.demonstration}
                for text in rows.column_tokens[mark.start : mark.stop]
            ]
    frame = pandas.DataFrame(tokens)
    frame["demonstration"] = pandas.array(
        [None if value != value or value is None else int(value) for value in frame["demonstration"]],
        dtype="Int64",
    )
    options = {"model": "pocket", "task": "pocket-tone", "shots": 8}
    tables = {"ranked": ranked, "finetuned": finetuned, "layers": shares, "map_tokens": frame}
    return study_of("attention", tables, options, arrays)


def claims_study() -> Any:
    random = np.random.default_rng(0)
    rows = []
    for paper, count in (("shen2024", 33), ("barnatan", 15)):
        for place in range(count):
            value = random.normal()
            there_is = place % 7 != 3
            rows.append(
                {
                    "paper": paper,
                    "measured_as": f"claim {place} about how much {LONG} differs from something else",
                    "above": 0.1 if place % 3 else math.nan,
                    "below": math.nan if place % 3 == 1 else 2.0,
                    "value": value if there_is else math.nan,
                    "low": value - 0.5 if there_is and place % 5 else math.nan,
                    "high": value + 0.8 if there_is and place % 5 else math.nan,
                    "verdict": ("holds", "fails", "undecided")[place % 3],
                }
            )
    return study_of("claims", {"claims": rows})


def reproduction(experiment: Experiment) -> Any:
    """Return an experiment whose parts and numbers are made by hand."""
    random = np.random.default_rng(0)
    labels = [part.label for part in experiment.parts]
    numbers: list[tuple[str, str]] = []
    if experiment.figure == "bars":
        columns = [*labels, "Average"] if experiment.view == "comparison_with_average" else labels
        numbers = [(row.label, column) for row in experiment.rows for column in columns]
    elif experiment.figure == "partition":
        numbers = [(row, label) for label in labels for row, _ in PARTITION]
    elif experiment.figure == "accuracy_by_shots":
        numbers = [(label, f"{count} demonstrations") for label in labels for count in (8, 512)]
    in_percent = {row.label for row in experiment.rows if "%" in row.panel}
    rows = [
        {
            "row": row,
            "column": column,
            "value": random.uniform(0, 1) * (100 if row in in_percent else 1),
            "std": random.uniform(0, 0.3) * (100 if row in in_percent else 1),
            "draws": 3,
        }
        for row, column in numbers
    ]
    made: dict[str, Callable[[], Any]] = {
        "sparsity": sparsity_study,
        "drift": drift_study,
        "compare": one_comparison,
        "gradients": lambda: gradients_study(6),
        "order": lambda: order_study(("one",)),
        "outputs": lambda: outputs_study(("one",), (4, 8, *experiment.shots)),
    }
    part: Study = made[experiment.kind]()
    shown = [{"part": label, "study": label, "shown_as": f"{label}\n(pocket-topic-code)"} for label in labels]
    options = {"paper": experiment.paper, "name": experiment.name, "experiment": experiment}
    tables = {
        "numbers": pandas.DataFrame(rows, columns=["row", "column", "value", "std", "draws"]),
        "parts": shown,
    }
    return study_of("reproduce", tables, options, parts=dict.fromkeys(labels, part))


def reproductions() -> dict[str, Any]:
    """Return the first experiment of each figure of its own, and every table that is drawn as bars."""
    chosen = {
        experiment.key if experiment.figure == "bars" else experiment.figure: experiment
        for experiment in reversed(EXPERIMENTS)
        if experiment.figure in FIGURES
    }
    return {name: reproduction(experiment) for name, experiment in chosen.items()}


STUDIES: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "attention": lambda: {
        "every setting": attention_study(),
        "one layer and head": attention_study(1, 1, ("icl",)),
    },
    "claims": lambda: {"both papers": claims_study()},
    "compare": compare_studies,
    "construction": lambda: {"small": small_study()},
    "controls": lambda: {"six": controls_study()},
    "drift": lambda: {
        "even steps": drift_study(),
        "steps that double": drift_study((0, 1, 2, 4, 64, 512, 1000, 3000, 143000), (), 2),
        "no steps": drift_study((None, None, None), ("pocket-tone",), 1),
    },
    "gather": lambda: {
        "six groups": gather_study(),
        "many groups": gather_study(50, 3),
        "one cell": gather_study(1, 1),
        "no nulls": gather_study(2, 2, nulls=False),
        "nothing found": gather_study(2, 2, ()),
    },
    "gradients": lambda: {"two draws": gradients_study(), "one step": gradients_study(1, 1, (0,))},
    "implicit_update": lambda: {
        "one draw": implicit_update_study(),
        "many layers and draws": implicit_update_study(48, (0, 1, 2)),
        "not given, not aligned": implicit_update_study(3, given=False, aligned=False),
    },
    "labels": lambda: {"all": labels_study(), "two": labels_study(("gold", "flipped"))},
    "order": lambda: {"two models": order_study()},
    "outputs": lambda: {"two models": outputs_study(), "one draw": outputs_study(("one",), (4,), (0,))},
    "parts": lambda: {
        "one draw": parts_study(),
        "many layers and draws": parts_study(48, (0, 1, 2), LONG),
        "one layer": parts_study(1),
    },
    "reproduce": reproductions,
    "sparsity": lambda: {
        "small": sparsity_study(),
        "many layers and heads": sparsity_study(32, 32),
        "heads unknown": sparsity_study(2, 2, known=False),
    },
    "transfer": lambda: {
        "two recipes": transfer_study(),
        "one draw": transfer_study(6, ("dai",), (0, 1), (0,)),
        "nothing of finetuning": transfer_study(1, ("dai",), undefined=True),
        "one site": transfer_study(80, ("dai",), (1,), (0,), ("residual",)),
    },
    "trajectory": lambda: {
        "three rates": trajectory_study(),
        "two numbers of shots": trajectory_study((4, 16), (1e-5, 1.5e-2)),
    },
}
"""Studies of each analysis, by what they have."""


@cache
def studies_of(name: str) -> Mapping[str, Any]:
    """Return the made studies of an analysis."""
    return STUDIES[name]()
