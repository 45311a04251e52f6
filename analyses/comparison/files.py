"""What a comparison leaves in its run directory: tables for people, for spreadsheets and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.recipe import load_recipe
from ...probes import calibrated_prediction, prediction_changes
from ...study.plain_values import plain
from ...study.run_directory import write_manifest
from ..configuration import CompareConfig
from .draw import SETTINGS, Draw, FinetunedSetting
from .measures import Intervals, head_profiles_of, layer_profiles_of, measures_of, over_draws

if TYPE_CHECKING:
    from pandas import DataFrame


def layers_frame(draws: Sequence[Draw], intervals: Intervals) -> DataFrame:
    """Return one row per draw, layer and measure.

    Columns: ``seed``, ``layer``, ``measure``, ``value``, ``low`` and ``high`` (bootstrap over queries for that
    draw), ``defined`` (examples, or example-head pairs, that have a value).

    Args:
        draws: One or more draws of demonstrations.
        intervals: How intervals are made.
    """
    import pandas

    rows = [
        (draw.seed, layer, profile.name, *numbers)
        for draw in draws
        for profile in layer_profiles_of(draw, intervals)
        for layer, *numbers in zip(
            draw.layers,
            profile.value.tolist(),
            profile.low.tolist(),
            profile.high.tolist(),
            profile.defined.tolist(),
            strict=True,
        )
    ]
    columns = ["seed", "layer", "measure", "value", "low", "high", "defined"]
    return pandas.DataFrame(rows, columns=pandas.Index(columns))


def heads_frame(draws: Sequence[Draw]) -> DataFrame:
    """Return one row per draw, layer, head and measure, with the mean over examples.

    Columns: ``seed``, ``layer``, ``head``, ``measure``, ``value``.

    Args:
        draws: One or more draws of demonstrations.
    """
    import pandas

    rows = [
        (draw.seed, layer, head, name, value)
        for draw in draws
        for name, profile in head_profiles_of(draw).items()
        for layer, heads in zip(draw.layers, profile.tolist(), strict=True)
        for head, value in enumerate(heads)
    ]
    return pandas.DataFrame(rows, columns=pandas.Index(["seed", "layer", "head", "measure", "value"]))


def examples_frame(draws: Sequence[Draw]) -> DataFrame:
    """Return one row per draw and query.

    Columns: ``seed``, ``query_index`` (in the file of the records, from 0), ``text``, ``gold``; for each setting
    ``zsl_prediction``, ``zsl_correct`` (over the label set), ``zsl_correct_calibrated``,
    ``zsl_correct_vocabulary`` and one ``zsl_logprob[label]`` per label; ``sim_aou``, ``sim_aou_null[kind]`` of each
    null and ``sim_aou_partial``, means over layers.

    Args:
        draws: One or more draws of demonstrations.
    """
    import pandas

    return pandas.concat([pandas.DataFrame(_example_columns(draw)) for draw in draws], ignore_index=True)


def _example_columns(draw: Draw) -> dict[str, Any]:
    def names(labels: list[int]) -> list[str]:
        return [draw.label_names[label] for label in labels]

    columns: dict[str, Any] = {
        "seed": draw.seed,
        "query_index": list(draw.query_indices),
        "text": list(draw.queries),
        "gold": names(draw.gold.tolist()),
    }
    for setting in SETTINGS:
        answers = draw.answers[setting]
        columns[f"{setting}_prediction"] = names(answers.prediction.tolist())
        columns[f"{setting}_correct"] = answers.correct.tolist()
        columns[f"{setting}_correct_calibrated"] = (
            calibrated_prediction(answers.label_logprobs) == draw.gold
        ).tolist()
        columns[f"{setting}_correct_vocabulary"] = answers.correct_vocabulary.tolist()
    for setting in SETTINGS:
        for label, values in zip(draw.label_names, draw.answers[setting].label_logprobs.T, strict=True):
            columns[f"{setting}_logprob[{label}]"] = values.tolist()
    columns["sim_aou"] = draw.sim_aou.values.nanmean(1).tolist()
    for kind, null in draw.nulls.items():
        columns[f"sim_aou_null[{kind}]"] = null.values.nanmean(1).tolist()
    columns["sim_aou_partial"] = draw.sim_aou_partial.values.nanmean(1).tolist()
    return columns


def finetuning_drift_frame(draws: Sequence[Draw]) -> DataFrame:
    """Return one row per draw, layer and matrix: how far finetuning moved it, in the numbers of `drift`.

    Args:
        draws: One or more draws of demonstrations.
    """
    import pandas

    return pandas.DataFrame(
        {
            "seed": draw.seed,
            "layer": row.layer,
            "matrix": row.matrix,
            **dataclasses.asdict(row.drift),
        }
        for draw in draws
        for row in draw.finetuned.drift
    )


def results_of(config: CompareConfig, draws: Sequence[Draw]) -> dict[str, Any]:
    """Return every number of a comparison as JSON can hold it; undefined and infinite numbers are None.

    Args:
        config: What was asked.
        draws: One or more draws of demonstrations.
    """
    intervals = Intervals(config.resamples, config.level)
    measures = [measures_of(draw, config.agreement, intervals) for draw in draws]
    results = {
        "model": config.model,
        "task": config.task,
        "shots": config.shots,
        "prompt": None if draws[0].prompt is None else draws[0].prompt.to_dict(),
        "labels": draws[0].label_names,
        "layers": draws[0].layers,
        "score_variant": config.score_variant,
        "agreement": config.agreement,
        "intervals": {
            "level": config.level,
            "resamples": config.resamples,
            "over": "queries, for one draw of demonstrations",
        },
        "over_draws": {measure.name: _without_name(measure) for measure in over_draws(measures)},
        "draws": [
            {
                **_draw_results(config, draw),
                "measures": {measure.name: _without_name(measure) for measure in numbers},
            }
            for draw, numbers in zip(draws, measures, strict=True)
        ],
    }
    return plain(results)


def _without_name(measure: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(measure).items() if name != "name"}


def _draw_results(config: CompareConfig, draw: Draw) -> dict[str, Any]:
    zsl, icl, ft = (draw.answers[setting].prediction for setting in SETTINGS)
    changes = prediction_changes(zsl, icl, ft, draw.gold, config.agreement)
    noise = draw.noise
    return {
        "seed": draw.seed,
        "demonstrations_used": draw.demonstrations_used,
        "demonstrations_asked": draw.demonstrations_asked,
        "queries": len(draw.gold),
        "queries_skipped": draw.queries_skipped,
        "records_left_out": dict(zip(("train", "validation"), draw.records_left_out, strict=True)),
        "seen_queries": draw.seen_queries,
        "record_notes": draw.record_notes,
        "separator_unknown": draw.separator_unknown,
        "prediction_changes": dataclasses.asdict(changes),
        "sim_aou_undefined": {
            "layers": draw.sim_aou.undefined_layers,
            "examples_by_layer": draw.sim_aou.undefined.tolist(),
        },
        "sim_aou_partial_undefined": {
            "layers": draw.sim_aou_partial.undefined_layers,
            "examples_by_layer": draw.sim_aou_partial.undefined.tolist(),
        },
        "sim_am_delta_undefined": {
            "layers": draw.sim_am_delta.undefined_layers,
            "examples_and_heads_by_layer": draw.sim_am_delta.undefined.tolist(),
        },
        "nulls": {
            kind: {"mean": null.mean, "std_over_null_draws": null.std, "null_draws": len(null.draws)}
            for kind, null in draw.nulls.items()
        },
        "finetuned": _finetuned_results(draw.finetuned),
        "noise_floor": None
        if noise is None
        else {name: getattr(noise, name).tolist() for name in ("floor", "icl_below", "ft_below")},
    }


def _finetuned_results(finetuned: FinetunedSetting) -> dict[str, Any]:
    run, choice = finetuned.finetuning, finetuned.choice
    return {
        "source": finetuned.source,
        "trained_parameters": finetuned.trained_parameters,
        "recipe": None if run is None else run.recipe.model_dump(),
        "learning_rate": None if run is None else run.learning_rate,
        "losses": None if run is None else run.losses,
        "first_loss": None if run is None else run.first_loss,
        "final_loss": None if run is None else run.final_loss,
        "steps": None if run is None else run.steps,
        "evaluations": [dataclasses.asdict(evaluation) for evaluation in finetuned.evaluations],
        "drift": [dataclasses.asdict(row) for row in finetuned.drift],
        "learning_rate_search": None
        if choice is None
        else {
            "chosen": choice.chosen,
            "baseline_held_out_nll": choice.baseline_nll,
            "candidates": [
                {"learning_rate": rate, "held_out_nll": nll, "diverged": math.isinf(nll)}
                for rate, nll in zip(choice.candidates, choice.held_out_nll, strict=True)
            ],
            "stopped_early": choice.stopped_early,
            "offered": choice.offered,
        },
    }


def config_values(config: CompareConfig) -> dict[str, Any]:
    """Return a configuration as plain values, with its recipe spelled out, that `CompareConfig` takes back.

    Args:
        config: The configuration.
    """
    return plain({**config.model_dump(), "recipe": load_recipe(config.recipe).model_dump()})


def write_comparison(
    folder: Path, config: CompareConfig, draws: Sequence[Draw], provenance: Mapping[str, Any]
) -> None:
    """Write every file of a run directory; the manifest, which marks it complete, comes last.

    Args:
        folder: The run directory, see `run_directory`; captures may lie there already.
        config: What was asked.
        draws: One or more draws of demonstrations.
        provenance: Where the results came from.
    """
    import yaml

    from ...reports.comparison_figures import figure_title, head_heatmap_figure, layer_profile_figure
    from ...reports.comparison_table import comparison_text
    from ...reports.finetuning_drift_figure import finetuning_drift_figure
    from ...reports.style import save_figure

    intervals = Intervals(config.resamples, config.level)
    settings = yaml.safe_dump(config_values(config), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    results = json.dumps(results_of(config, draws), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(results + "\n", encoding="utf-8")
    layers_frame(draws, intervals).to_csv(folder / "layers.csv", index=False)
    heads_frame(draws).to_csv(folder / "heads.csv", index=False)
    examples_frame(draws).to_csv(folder / "examples.csv", index=False)
    finetuning_drift_frame(draws).to_csv(folder / "finetuning_drift.csv", index=False)
    (folder / "table.txt").write_text(comparison_text(config, draws) + "\n", encoding="utf-8")
    title = figure_title(config)
    save_figure(layer_profile_figure(draws, intervals, title=title), folder / "layer_profile.png")
    save_figure(head_heatmap_figure(draws, title=title), folder / "heads.png")
    save_figure(finetuning_drift_figure(draws, title=title), folder / "finetuning_drift.png")
    captures = {str(draw.seed): draw.manifest for draw in draws}
    write_manifest(folder, plain({**provenance, "captures": captures}))
