"""Studies of every analysis, made by hand for what is drawn of them: small and large, with what is hard to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas
import torch
from made_attention import made_rows
from made_draws import made_comparison, made_draw
from small_construction import small_study

from iclprobe.analyses.outputs.kept_tokens import GROUP, KeptTokens
from iclprobe.analyses.papers.catalogue import EXPERIMENTS
from iclprobe.analyses.papers.declaration import Experiment
from iclprobe.analyses.papers.views import PARTITION
from iclprobe.probes.distributions import top_tokens
from iclprobe.settings import make_config
from iclprobe.study.analysis import registered_analyses, there
from iclprobe.study.study import Study

LONG = "a-recipe-with-a-name-that-somebody-thought-of/on-a-friday-afternoon"
MATRICES = ("query", "key", "value")
THRESHOLDS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def study_of(
    name: str,
    tables: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    arrays: Any = None,
    parts: Mapping[str, Study] | None = None,
) -> Any:
    """Return a study of the tables that its figures read."""
    analysis = registered_analyses()[name]
    config = make_config(analysis.config, dict(options or {}), "test")
    frames = {key: pandas.DataFrame(rows) for key, rows in tables.items()}
    return there(analysis.study)(name, config, frames, (), {}, arrays or {}, parts or {})


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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
        "several": made_comparison(cells, seeds=(0, 1)),
    }


def controls_study() -> Any:
    measures = one_comparison().tables["over_draws"]["measure"]
    random = _random()
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


def order_study(models: Sequence[str] = ("one", f"somewhere/{LONG}"), seeds: Sequence[int] = (0, 1)) -> Any:
    given = {
        "task": "tone",
        "shots": 4,
        "layer": None,
        "chosen": False,
        "orders": 10,
        "accuracy_vocabulary": 0.2,
        "queries": 8,
        "demonstrations": 4,
    }
    rows = []

    def add(**fields: Any) -> None:
        rows.append({**given, **fields})

    for model in models:
        for seed in seeds:
            random = _random(seed)
            add(model=model, seed=seed, arm="ICL", learning_rate=None, epoch=None, sensitivity=0.3 + seed / 9)
            rows[-1]["accuracy_labels"] = 0.9
            arms = (
                ("GD", 1e-7, 0.01),
                ("SGD, batch 2", 0.2, 0.01),
                ("SGD, batch 2", 0.3, 0.1),
                ("own", 0.1, 1e-4),
            )
            for arm, size, rate in (*arms, ("SGD, batch 2", math.nan, 5.0)):
                for epoch in range(2, 42, 2):
                    value = size * random.uniform(0.5, 2)
                    add(model=model, seed=seed, arm=arm, learning_rate=rate, epoch=epoch, sensitivity=value)
                    rows[-1]["accuracy_labels"] = random.uniform(0, 1) if size == size else math.nan
            for layer in (1, 3):
                for epoch in (2, 4):
                    add(model=model, seed=seed, arm="GD, deep layer", learning_rate=0.1 + seed, epoch=epoch)
                    rows[-1] |= {"sensitivity": 0.0, "accuracy_labels": 0.5, "layer": layer, "chosen": True}
    return study_of("order", {"rows": rows}, {"seeds": tuple(seeds), "shots": 4})


@cache
def outputs_study(
    models: Sequence[str] = ("one", f"somewhere/{LONG}"),
    shots: Sequence[int] = (4, 8, 64),
    seeds: Sequence[int] = (0, 1),
) -> Any:
    kept = KeptTokens()
    random = _random()
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    rows = []

    def add(epoch: int | None, rate: float | None, **fields: Any) -> None:
        nonlocal logits
        logits = logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(len(rows)))
        place = kept.add(top_tokens(torch.log_softmax(logits, dim=1)))
        measures = ("accuracy_vocabulary", "accuracy_labels", "token_overlap", "ocs")
        row = {"task": "tone", "layer": None, "chosen": False, "queries": 8, "tokens": place, "epoch": epoch}
        row |= {"learning_rate": rate, "token_overlap_std": 0.0, "ocs_std": 0.0}
        rows.append({**row, **{measure: random.uniform(0, 1) for measure in measures}, **fields})

    for model in models:
        for count in shots:
            for seed in seeds:
                where = {"model": model, "shots": count, "seed": seed}
                for arm in ("zero-shot", "ICL"):
                    add(None, None, arm=arm, **where)
                for epoch in (20, 40, 60):
                    for rate in (0.001, 0.01):
                        add(epoch, rate, arm="GD", **where)
                        add(epoch, rate, arm="layer-causal", **where)
                    add(epoch, 0.1 * (1 + seed), arm="Adam", chosen=True, **where)
    names = [f"{rate:g}, epoch {epoch}" for rate in (0.001, 0.01) for epoch in range(10, 110, 10)]
    pairs = [
        {
            "arm": "GD",
            "checkpoint": one,
            "other": two,
            "token_overlap": random.uniform(),
            "ocs": random.uniform(),
        }
        for one in names
        for two in names
    ]
    options = {"seeds": tuple(seeds), "shots": tuple(shots), "models": tuple(models)}
    return study_of("outputs", {"rows": rows, "pairs": pairs}, options, {GROUP: kept.arrays()})


def gradients_study(layers: int = 30, steps: int = 32, seeds: Sequence[int] = (0, 1)) -> Any:
    random = _random()
    rows = [
        {"recipe": recipe, "seed": seed, "step": step, "layer": layer, "norm": 10 ** random.uniform(-4, 2)}
        for recipe in ("dai", LONG)
        for seed in seeds
        for step in range(1, steps + 1)
        for layer in range(layers)
    ]
    for row in rows:
        if row["layer"] < 2 and row["recipe"] == "dai":
            row["norm"] = 0.0
    return study_of("gradients", {"norms": rows}, {"seeds": tuple(seeds)})


def sparsity_study(layers: int = 6, heads: int = 4, known: bool = True) -> Any:
    random = _random()
    fractions, of_heads = [], []
    for matrix in MATRICES:
        for layer in range(layers):
            for threshold in THRESHOLDS:
                below = 0.0 if threshold < 1e-5 else min(1.0, 30 * threshold * random.uniform(0.3, 1))
                where = {"layer": layer, "matrix": matrix, "threshold": threshold}
                fractions.append({**where, "below": below, "below_relative": below / 20})
                of_heads += [
                    {
                        **where,
                        "head": head,
                        "below": below * random.uniform(0.5, 1),
                        "below_relative": below / 9,
                    }
                    for head in range(heads)
                ]
    frame = pandas.DataFrame(fractions)
    averages = frame.groupby(["matrix", "threshold"], sort=False, as_index=False)[
        ["below", "below_relative"]
    ].mean()
    constructed = {"query": 0.99, "key": 0.99, "value": 0.745}
    tables = {
        "fractions": fractions,
        "matrices": [{"layer": layer, "matrix": matrix} for matrix in MATRICES for layer in range(layers)],
        "heads": of_heads if known else [{**row} for row in of_heads if row["matrix"] == "query"],
        "averages": averages,
        "construction": [{"matrix": matrix, "below": below} for matrix, below in constructed.items()],
    }
    return study_of("sparsity", tables, {"model": f"somewhere/{LONG}"})


def drift_study(
    steps: Sequence[int | None] = (0, 16, 32, 64, 128, 256, 362, 512, 608, 724, 861, 1024, 1152, 1280),
    tasks: Sequence[str] = ("pocket-tone", LONG),
    layers: int = 6,
) -> Any:
    random = _random()
    names = [f"some-checkpoint-{place}" if step is None else str(step) for place, step in enumerate(steps)]
    count = len(steps)
    gaps, drift, accuracy, between = [], [], [], []
    for place in range(count):
        where = {"place": place, "checkpoint": names[place]}
        for against in ("previous", "first", "last"):
            if (against == "last" and place == count - 1) or (against != "last" and place == 0):
                continue
            gaps.append({**where, "against": against, "mean_absolute": random.uniform(0, 0.05)})
            drift += [
                {**where, "against": against, "layer": layer, "matrix": matrix}
                | {"relative_frobenius": math.nan if layer == 0 and place == 1 else random.uniform(0, 0.3)}
                for matrix in MATRICES
                for layer in range(layers)
            ]
        accuracy += [
            {**where, "task": task, "seed": seed, "icl": random.uniform(0, 1), "chance": 0.25}
            for task in tasks
            for seed in (0, 1)
        ]
        between += [
            {**where, "other_place": other, "other": names[other], "mean_absolute": abs(place - other) / 100}
            for other in range(count)
        ]
    checkpoints = pandas.DataFrame({"place": range(count), "checkpoint": names})
    checkpoints["step"] = pandas.array(list(steps), dtype="Int64")
    columns = ["place", "checkpoint", "task", "seed", "icl", "chance"]
    tables = {"drift": drift, "gaps": gaps, "between": between, "checkpoints": checkpoints}
    tables["accuracy"] = pandas.DataFrame(accuracy, columns=columns)
    return study_of("drift", tables)


def attention_study(layers: int = 30, heads: int = 9, settings: Sequence[str] = ("zsl", "icl", "ft")) -> Any:
    random = _random()
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
    return study_of("attention", {"ranked": ranked, "layers": shares, "map_tokens": frame}, options, arrays)


def claims_study() -> Any:
    random = _random()
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
    random = _random()
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
    part = made[experiment.kind]()
    shown = [{"part": label, "study": label, "shown_as": f"{label}\n(pocket-topic-code)"} for label in labels]
    options = {"paper": experiment.paper, "name": experiment.name, "experiment": experiment}
    tables = {
        "numbers": pandas.DataFrame(rows, columns=["row", "column", "value", "std", "draws"]),
        "parts": shown,
    }
    return study_of("reproduce", tables, options, parts=dict.fromkeys(labels, part))


def reproductions() -> dict[str, Any]:
    """Return one experiment of each figure, and every table that is drawn as bars."""
    chosen = {
        experiment.key
        if experiment.figure == "bars"
        else f"{experiment.figure} of {experiment.kind}": experiment
        for experiment in EXPERIMENTS
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
    "gradients": lambda: {"two draws": gradients_study(), "one step": gradients_study(1, 1, (0,))},
    "order": lambda: {"two models": order_study(), "one draw": order_study(("one",), (0,))},
    "outputs": lambda: {"two models": outputs_study(), "one draw": outputs_study(("one",), (4,), (0,))},
    "reproduce": reproductions,
    "sparsity": lambda: {
        "small": sparsity_study(),
        "many layers and heads": sparsity_study(32, 32),
        "heads unknown": sparsity_study(2, 2, known=False),
    },
}
"""Studies of each analysis, by what they have."""


@cache
def studies_of(name: str) -> Mapping[str, Any]:
    """Return the made studies of an analysis."""
    return STUDIES[name]()
