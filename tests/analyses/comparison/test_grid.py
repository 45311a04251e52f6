"""Several recipes and several numbers of shots at once: the same numbers as one by one, with less work."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import Comparison, LanguageModel, UserError
from iclprobe.reports.grid_figure import grid_figure
from iclprobe.study.run_directory import is_complete

RECIPES = ("dai", {"preset": "dai", "name": "values", "parameters": "attn_v"})


def settings(records: Path) -> dict[str, Any]:
    return {
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "learning_rate": 0.5,
        "batch_size": 4,
        "null_draws": 2,
        "resamples": 20,
    }


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LanguageModel:
    return iclprobe.load_model(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def grid(model: LanguageModel, records: Path) -> Comparison:
    return iclprobe.compare(model=model, shots=(2, 4), recipes=RECIPES, seeds=(0, 1), **settings(records))


def test_every_comparison_is_what_it_is_alone(grid: Comparison, model: LanguageModel, records: Path) -> None:
    assert grid.cells == (("dai", 2), ("values", 2), ("dai", 4), ("values", 4))
    for name, recipe in zip(("dai", "values"), RECIPES, strict=True):
        alone = iclprobe.compare(model=model, shots=4, recipe=recipe, seeds=(0, 1), **settings(records))
        together = grid[name, 4]
        for table, frame in alone.tables.items():
            assert frame.equals(together.tables[table]), table
        assert together.table() == alone.table()
        assert repr(together.findings) == repr(alone.findings)


def test_pretrained_settings_run_once_for_all_recipes(model: LanguageModel, records: Path) -> None:
    shots, seeds = (2, 4), (0, 1)
    seen: Counter[tuple[Any, ...]] = Counter()

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen[tuple(map(tuple, kwargs["input_ids"].tolist())), kwargs.get("past_key_values") is not None] += 1

    handle = model.module.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        iclprobe.compare(
            model=model, shots=shots, recipes=RECIPES, seeds=seeds, keep_maps=0, **settings(records)
        )
    finally:
        handle.remove()
    task = iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))
    for shot in shots:
        for seed in seeds:
            shown = iclprobe.draw_demonstrations(task, shot, seed)
            prompts = iclprobe.build_prompts(
                model.require_tokenizer(), task.template, shown, task.validation, model.context_length
            )
            prefix = (prompts.icl.prefix_ids,)
            assert seen[prefix, True] + seen[prefix, False] == 1
    # Zero-shot once, and as often finetuned as there are recipes, shots and seeds.
    asked = [
        times
        for (batch, cached), times in seen.items()
        if not cached and len(batch) == 4 and times >= len(RECIPES) * len(shots) * len(seeds)
    ]
    assert asked == [1 + len(RECIPES) * len(shots) * len(seeds)] * 3


def test_a_row_for_each_number_of_shots_recipe_and_measure(grid: Comparison) -> None:
    frame = grid.to_pandas("over_draws")
    assert list(frame.columns) == ["recipe", "shots", "measure", "unit", "mean", "std", "draws"]
    row = frame[(frame.shots == 2) & (frame.recipe == "values") & (frame.measure == "SimAOU")]
    similarities = grid["values", 2].tables["similarities"]
    by_layer = similarities.groupby(["seed", "layer"])["SimAOU"].mean()
    draws = by_layer.groupby("seed").mean().tolist()
    assert row["mean"].item() == pytest.approx(sum(draws) / 2)
    assert row["std"].item() == pytest.approx(abs(draws[0] - draws[1]) / math.sqrt(2))
    assert row["draws"].item() == 2
    assert not frame.duplicated(["shots", "recipe", "measure"]).any()
    assert len(frame) == 4 * len(grid["dai", 2].tables["over_draws"])


def test_what_is_not_there_is_named(grid: Comparison) -> None:
    with pytest.raises(KeyError, match=r"'dai', 2"):
        grid["dai", 3]
    with pytest.raises(UserError, match="SimAOU"):
        grid_figure(grid.tables["over_draws"], ["similarity"])


def test_the_table_has_a_row_for_each_comparison(grid: Comparison) -> None:
    lines = grid.table().splitlines()
    block = lines.index(next(line for line in lines if line.startswith("SimAOU (cosine)")))
    rows = [line.split("   ")[0] for line in lines[block + 1 : block + 5]]
    assert rows == ["dai, 2 shots", "values, 2 shots", "dai, 4 shots", "values, 4 shots"]
    assert f"{grid['values', 4]['SimAOU']:.3f} ±" in lines[block + 4]


def test_the_figure_has_a_line_for_each_recipe(grid: Comparison) -> None:
    axes = grid_figure(grid.tables["over_draws"], ["SimAOU"]).axes[0]
    handles: Any
    handles, labels = axes.get_legend_handles_labels()
    lines = {label: handle[0] for label, handle in zip(labels, handles, strict=True)}
    for recipe in ("dai", "values"):
        heights = [grid[recipe, shots]["SimAOU"] for shots in (2, 4)]
        assert lines[recipe].get_ydata().tolist() == pytest.approx(heights)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4"]


def test_the_figure_names_the_last_part_of_the_model_and_the_task_in_memory(
    grid: Comparison, model: LanguageModel, records: Path
) -> None:
    options = settings(records)
    of_task = ("template", "label_words", "data", "separator")
    task = iclprobe.load_task(options.pop("task"), **{name: options.pop(name) for name in of_task})
    made = iclprobe.compare(model=model, task=task, shots=(2,), recipes=("dai",), **options)
    assert made.config.task == "tone"
    assert made.plot("grid").get_suptitle().endswith(" on tone")
    at = dataclasses.replace(made, config=made.config.model_copy(update={"model": "owner/of/it/"}))
    assert at.plot("grid").get_suptitle() == "it on tone"


def test_the_run_directory_holds_every_comparison_and_runs_again(
    grid: Comparison, checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    first = iclprobe.compare(
        model=str(checkpoint),
        device="cpu",
        shots=(2,),
        recipes=RECIPES,
        limit=4,
        save_captures=True,
        out=tmp_path / "grid",
        **settings(records),
    )
    assert is_complete(tmp_path / "grid")
    for folder in ("2shots-dai", "2shots-values"):
        captures = tmp_path / "grid" / folder / "captures"
        assert {path.name for path in captures.iterdir()} == {
            f"{setting}.safetensors" for setting in ("zsl", "icl", "ft")
        }
        assert (tmp_path / "grid" / f"heads-{folder}.png").exists()
    config = yaml.safe_load((tmp_path / "grid" / "config.yaml").read_text())
    config.pop("analysis")
    again = iclprobe.compare(iclprobe.CompareConfig(**config), out=tmp_path / "again")
    loaded = iclprobe.load_study(tmp_path / "grid")
    for name, frame in first.tables.items():
        assert frame.equals(again.tables[name]) and frame.equals(loaded.tables[name]), name
    assert loaded.table() == first.table()
    grid.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "grid.png").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"recipes": ("dai", {"preset": "dai", "epochs": 2})}, "'dai'"),
        ({"recipes": ("dai", "no-such-recipe")}, "no-such-recipe"),
        ({"shots": (2, 2)}, "twice"),
        ({"shots": ()}, "shots"),
        ({"shots": (2, 25)}, "25"),
        ({"recipes": ("dai", "shen"), "finetuned": "somewhere"}, "finetuned"),
        ({"recipes": ("shen_adam",), "learning_rate": 1e18}, "with recipe 'shen_adam', 2 shots.*diverged"),
        ({"save_captures": True}, "out=DIR"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    model: LanguageModel, records: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        iclprobe.compare(model=model, **{**settings(records), "shots": (2, 4), **options})
