"""Several recipes and several numbers of shots at once: the same numbers as one by one, with less work."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import ComparisonGrid, LanguageModel, UserError
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
def grid(model: LanguageModel, records: Path) -> ComparisonGrid:
    return iclprobe.compare_grid(
        model=model, shots=(2, 4), recipes=RECIPES, seeds=(0, 1), **settings(records)
    )


def test_every_comparison_is_what_it_is_alone(
    grid: ComparisonGrid, model: LanguageModel, records: Path
) -> None:
    assert list(grid.comparisons) == [("dai", 2), ("values", 2), ("dai", 4), ("values", 4)]
    for name, recipe in zip(("dai", "values"), RECIPES, strict=True):
        alone = iclprobe.compare(model=model, shots=4, recipe=recipe, seeds=(0, 1), **settings(records))
        together = grid[name, 4]
        assert repr(together.measures) == repr(alone.measures)
        for one, other in zip(together.draws, alone.draws, strict=True):
            assert torch.equal(one.sim_aou.values, other.sim_aou.values)
            assert torch.equal(one.sim_am_after.values, other.sim_am_after.values)
            assert torch.equal(one.nulls["permuted_pairs"].draws, other.nulls["permuted_pairs"].draws)
            assert one.finetuned.drift == other.finetuned.drift
        assert together.table() == alone.table()


def test_pretrained_settings_run_once_for_all_recipes(model: LanguageModel, records: Path) -> None:
    shots, seeds = (2, 4), (0, 1)
    seen: Counter[tuple[Any, ...]] = Counter()

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen[tuple(map(tuple, kwargs["input_ids"].tolist())), kwargs.get("past_key_values") is not None] += 1

    handle = model.module.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        iclprobe.compare_grid(model=model, shots=shots, recipes=RECIPES, seeds=seeds, **settings(records))
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


def test_a_row_for_each_number_of_shots_recipe_and_measure(grid: ComparisonGrid) -> None:
    frame = grid.to_pandas()
    assert list(frame.columns) == ["shots", "recipe", "measure", "unit", "mean", "std", "draws"]
    row = frame[(frame.shots == 2) & (frame.recipe == "values") & (frame.measure == "SimAOU")]
    draws = [float(draw.sim_aou.values.nanmean(0).nanmean()) for draw in grid["values", 2].draws]
    assert row["mean"].item() == pytest.approx(sum(draws) / 2)
    assert row["std"].item() == pytest.approx(abs(draws[0] - draws[1]) / math.sqrt(2))
    assert row["draws"].item() == 2
    assert not frame.duplicated(["shots", "recipe", "measure"]).any()
    assert len(frame) == 4 * len(grid["dai", 2].over_draws)


def test_what_is_not_there_is_named(grid: ComparisonGrid) -> None:
    with pytest.raises(KeyError, match=r"'dai', 2"):
        grid["dai", 3]
    with pytest.raises(UserError, match="SimAOU"):
        grid.plot(["similarity"])


def test_the_table_has_a_row_for_each_comparison(grid: ComparisonGrid) -> None:
    lines = grid.table().splitlines()
    block = lines.index(next(line for line in lines if line.startswith("SimAOU (cosine)")))
    rows = [line.split("   ")[0] for line in lines[block + 1 : block + 5]]
    assert rows == ["dai, 2 shots", "values, 2 shots", "dai, 4 shots", "values, 4 shots"]
    assert f"{grid['values', 4]['SimAOU']:.3f} ±" in lines[block + 4]


def test_the_figure_has_a_line_for_each_recipe(grid: ComparisonGrid) -> None:
    axes = grid.plot(["SimAOU"]).axes[0]
    handles: Any
    handles, labels = axes.get_legend_handles_labels()
    lines = {label: handle[0] for label, handle in zip(labels, handles, strict=True)}
    for recipe in ("dai", "values"):
        heights = [grid[recipe, shots]["SimAOU"] for shots in (2, 4)]
        assert lines[recipe].get_ydata().tolist() == pytest.approx(heights)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4"]


def test_the_figure_names_the_last_part_of_the_model_and_the_task_in_memory(
    grid: ComparisonGrid, model: LanguageModel, records: Path
) -> None:
    options = settings(records)
    of_task = ("template", "label_words", "data", "separator")
    task = iclprobe.load_task(options.pop("task"), **{name: options.pop(name) for name in of_task})
    made = iclprobe.compare_grid(model=model, task=task, shots=(2,), recipes=("dai",), **options)
    assert made.config.task == "tone"
    at = ComparisonGrid(
        made.config.model_copy(update={"model": "owner/of/it/"}), made.comparisons, made.provenance
    )
    assert at.plot(["SimAOU"]).get_suptitle() == "it on tone"


def test_the_run_directory_holds_every_comparison_and_runs_again(
    grid: ComparisonGrid, checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    first = iclprobe.compare_grid(
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
        assert is_complete(tmp_path / "grid" / folder)
        captures = tmp_path / "grid" / folder / "captures"
        assert {path.name for path in captures.iterdir()} == {
            f"{setting}.safetensors" for setting in ("zsl", "icl", "ft")
        }
    config = yaml.safe_load((tmp_path / "grid" / "config.yaml").read_text())
    again = iclprobe.compare_grid(iclprobe.GridConfig(**config), out=tmp_path / "again")
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("grid", "again")]
    assert results[0] == results[1]
    one = yaml.safe_load((tmp_path / "grid" / "2shots-values" / "config.yaml").read_text())
    alone = iclprobe.compare(iclprobe.CompareConfig(**one), save_captures=False)
    assert repr(alone.measures) == repr(again["values", 2].measures) == repr(first["values", 2].measures)
    grid.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "4shots-dai" / "results.json").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"recipes": ("dai", {"preset": "dai", "epochs": 2})}, "'dai'"),
        ({"recipes": ("dai", "no-such-recipe")}, "no-such-recipe"),
        ({"shots": (2, 2)}, "twice"),
        ({"shots": ()}, "shots"),
        ({"shots": (2, 25)}, "25"),
        ({"finetuned": "somewhere"}, "finetuned"),
        ({"learning_rate": 1e18}, "with recipe 'dai', 2 shots and seed 0: .*diverged"),
        ({"save_captures": True}, "out=DIR"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    model: LanguageModel, records: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        iclprobe.compare_grid(model=model, **{**settings(records), "shots": (2, 4), **options})
