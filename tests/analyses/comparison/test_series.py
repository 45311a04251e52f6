"""Which step of a training run is most like ICL: a planted one is found, by numbers made again literally."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_runs import write_full
from tiny_checkpoint import TEMPLATE
from transformers import AutoModelForCausalLM

import iclprobe
from iclprobe import Comparison, LanguageModel
from iclprobe.analyses.comparison.series import LIKENESS
from iclprobe.reports.series_figure import series_figure
from iclprobe.seeds import derive_seed

RESAMPLES = 50
STEPS = (100, 200, 300)
BIAS = "model.layers.0.self_attn.o_proj.bias"


def settings(records: Path) -> dict[str, Any]:
    return {
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "batch_size": 4,
        "limit": 8,
        "null_draws": 2,
        "resamples": RESAMPLES,
        "shots": 4,
    }


@pytest.fixture(scope="module")
def base(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with biases behind its attention, where a change of its output can be planted."""
    folder = tmp_path_factory.mktemp("biased") / "model"
    plain = iclprobe.load_model(checkpoint, device="cpu")
    config = plain.module.config
    config.attention_bias = True
    module: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_() if name.endswith("proj.bias") else parameter.copy_(
                plain.module.get_parameter(name)
            )
    module.save_pretrained(folder)
    plain.require_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(base: Path) -> LanguageModel:
    return iclprobe.load_model(base, device="cpu")


@pytest.fixture(scope="module")
def run(base: Path, model: LanguageModel, records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints whose first layer's attention output moves as ICL moves it, most nearly so at step 200.

    Between the steps the direction turns away from the mean of ICL's updates by an angle.
    """
    task = iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))
    prompts = iclprobe.build_prompts(
        model.require_tokenizer(),
        task.template,
        iclprobe.draw_demonstrations(task, 4, 0),
        task.validation,
        model.context_length,
    )
    plan = iclprobe.CapturePlan(sites=("attention_output",), layers=slice(0, 1))
    outputs = [
        iclprobe.capture(model, each, plan).attention_output for each in (prompts.zero_shot, prompts.icl)
    ]
    assert outputs[0] is not None and outputs[1] is not None
    update = (outputs[1] - outputs[0])[:, 0].mean(0)
    away = torch.randn(update.shape, generator=torch.Generator().manual_seed(3))
    away = away - update * (away @ update) / (update @ update)
    away = away * update.norm() / away.norm()
    folder = tmp_path_factory.mktemp("planted") / "sft"
    for step, degrees in zip((*STEPS, None), (80, 10, 50, 100), strict=True):
        angle = math.radians(degrees)
        change = {BIAS: math.cos(angle) * update + math.sin(angle) * away}
        write_full(folder if step is None else folder / f"checkpoint-{step}", base, change)
    return folder


@pytest.fixture(scope="module")
def series(model: LanguageModel, records: Path, run: Path) -> Comparison:
    """In the layer that was planted."""
    return iclprobe.compare(model=model, finetuned=str(run), plan={"layers": "0:1"}, **settings(records))


@pytest.fixture(scope="module")
def whole(model: LanguageModel, records: Path, run: Path) -> Comparison:
    """In all layers."""
    return iclprobe.compare(model=model, finetuned=str(run), **settings(records))


def test_the_planted_step_is_found(series: Comparison) -> None:
    found = next(finding for finding in series.findings if finding.name == "most like ICL by SimAOU")
    assert found.where == {"recipe": "checkpoint-200", "shots": 4}
    assert "checkpoint-200 is most like ICL of 4 checkpoints" in found.sentence
    assert "above checkpoint-100 (by" in found.sentence and "above checkpoint-300 (by" in found.sentence
    assert found.low < found.value < found.high and found.value > found.null
    text = series.table()
    line = next(line for line in text.splitlines() if line.startswith("SimAOU  "))
    assert "checkpoint-200" in line and f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in line


def test_the_finished_model_comes_last_and_the_best_is_the_literal_maximum(
    whole: Comparison, model: LanguageModel, records: Path, run: Path
) -> None:
    assert whole.cells == tuple((name, 4) for name in (*(f"checkpoint-{step}" for step in STEPS), "final"))
    table = whole.tables["series"]
    assert list(table.drop_duplicates("place")["step"].astype(object)[:3]) == list(STEPS)
    assert table.drop_duplicates("place")["step"].isna().tolist() == [False, False, False, True]
    # The folder itself beside another model is the finished model alone.
    alone = [
        iclprobe.compare(model=model, finetuned=str(run / f"checkpoint-{step}"), **settings(records))
        for step in STEPS
    ]
    both = iclprobe.compare(model=model, finetuned=[run, run / "checkpoint-100"], **settings(records))
    final = both["sft", 4]
    for measure in LIKENESS:
        values = [each[measure] for each in (*alone, final)]
        rows = table[table["measure"] == measure].sort_values("place")
        assert rows["value"].tolist() == pytest.approx(values, rel=1e-12)
        assert rows["most"].tolist() == [place == values.index(max(values)) for place in range(4)]
        assert rows["behind"].tolist() == pytest.approx([max(values) - value for value in values], abs=1e-12)


def literal(values: np.ndarray, others: np.ndarray, measure: str) -> tuple[list[float], list[float]]:
    """Intervals of a mean over queries and layers, ``[N, L]``, and of the difference to another, one by one."""
    generator = np.random.default_rng(derive_seed("bootstrap", measure))
    alone, behind = [], []
    for drawn in generator.integers(len(values), size=(RESAMPLES, len(values))):
        one, best = (
            float(np.mean([np.nanmean(column[drawn]) for column in each.T])) for each in (values, others)
        )
        alone.append(one)
        behind.append(best - one)
    return [list(np.quantile(each, (0.025, 0.975))) for each in (alone, behind)]  # type: ignore[return-value]


def test_intervals_take_the_same_queries_at_both_checkpoints(whole: Comparison) -> None:
    table, similarities = whole.tables["series"], whole.tables["similarities"]
    for measure in LIKENESS:
        rows = table[table["measure"] == measure].set_index("recipe")
        values = {
            name: found.pivot_table(index="query", columns="layer", values=measure).to_numpy()
            for name, found in similarities.groupby("recipe")
        }
        best = rows.index[rows["most"].to_numpy(dtype=bool)][0]
        for name, row in rows.iterrows():
            alone, behind = literal(values[str(name)], values[best], measure)
            assert [row["low"], row["high"]] == pytest.approx(alone, rel=1e-9)
            assert [row["behind_low"], row["behind_high"]] == pytest.approx(behind, abs=1e-9)
        measures = whole.tables["measures"]
        own = measures[measures["measure"] == measure].set_index("recipe").loc[rows.index]
        assert rows["low"].tolist() == pytest.approx(own["low"].tolist(), rel=1e-9)


def test_several_draws_count_a_query_once(model: LanguageModel, records: Path, run: Path) -> None:
    made = iclprobe.compare(
        model=model, finetuned=f"{run}/checkpoint-*", seeds=(0, 1), **{**settings(records), "shots": (2, 4)}
    )
    table, over_draws = made.tables["series"], made.tables["over_draws"]
    assert len(table) == 3 * 2 * (len(LIKENESS) + 1)
    key = ["recipe", "shots", "measure"]
    both = table.merge(over_draws, on=key)
    assert both["value"].tolist() == pytest.approx(both["mean"].tolist(), rel=1e-9)
    assert (table["low"] <= table["value"] + 1e-12).all() and (table["value"] <= table["high"] + 1e-12).all()
    told = [finding for finding in made.findings if finding.name == "most like ICL by SimAOU"]
    assert [finding.where["shots"] for finding in told] == [2, 4]
    assert {"series", "grid"} < made.figures().keys()


def test_the_figure_draws_every_step_and_rings_the_largest(series: Comparison) -> None:
    figure = series.plot()
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "attention output updates",
        "… particular to the query",
    ]
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "200", "300", "final"]
    rows = series.tables["series"]
    rows = rows[rows["measure"] == "SimAOU"]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    assert any(len(line) == 4 and np.allclose(line, rows["value"].to_numpy()) for line in drawn)
    assert any(len(line) == 4 and np.allclose(line, rows["null"].to_numpy()) for line in drawn)
    assert any(len(line) == 1 and np.allclose(line, rows["value"].max()) for line in drawn)
    assert set(series.figures()) >= {"series", "layer_profile-4shots-checkpoint-100"}
    with pytest.raises(KeyError, match="no figure 'series'"):
        series["checkpoint-100", 4].plot("series")


def test_what_is_undefined_everywhere_is_said(series: Comparison) -> None:
    from iclprobe.analyses.comparison.measures import Intervals
    from iclprobe.analyses.comparison.series import series_findings, series_rows

    tables = {**series.tables}
    tables["similarities"] = tables["similarities"].assign(SimAOU=math.nan)
    steps = {f"checkpoint-{step}": step for step in STEPS}
    rows = series_rows(tables, steps, Intervals(10, 0.95))
    undefined = rows[rows["measure"] == "SimAOU"]
    assert undefined["value"].isna().all() and not undefined["most"].any()
    said = [finding.sentence for finding in series_findings(rows, Intervals(10, 0.95))]
    assert said[0] == "SimAOU: undefined at every checkpoint"
    assert series_figure(rows, series.tables["over_draws"]).axes
