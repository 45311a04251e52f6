"""The figures of a comparison, read back from what was drawn."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from made_draws import made_comparison, made_draw

from iclprobe.errors import UserError
from iclprobe.reports.style import NULL_COLOURS, save_figure


def lines(axes: matplotlib.axes.Axes) -> dict[str, np.ndarray]:  # type: ignore[name-defined]
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def test_the_profile_draws_every_measure_in_the_order_of_layers() -> None:
    draw = made_draw(layers=(5, 0, 3), frozen_layers=1)
    figure = made_comparison([draw]).plot()
    left, middle, right = figure.axes
    nulls = {"null: gaussian", "null: permuted pairs", "null: shared baseline"}
    assert set(lines(left)) == {"SimAOU", *nulls}
    assert set(lines(middle)) == {"SimAOU partial", "null: permuted pairs"}
    assert set(lines(right)) == {
        "SimAM before finetuning",
        "SimAM after finetuning",
        "SimAM of the changes",
        "null: shared baseline",
    }
    partial = lines(middle)["SimAOU partial"][:2, 1]
    assert partial == pytest.approx(draw.sim_aou_partial.layer_profile[[1, 2]].tolist())
    drawn = lines(left)["SimAOU"]
    assert drawn[:, 0].tolist() == [0, 3, 5]
    assert drawn[:2, 1] == pytest.approx(draw.sim_aou.layer_profile[[1, 2]].tolist())
    assert np.isnan(drawn[2, 1])
    assert figure.get_suptitle() == "pocket on sst2, 8 shots"
    assert (left.get_xlabel(), left.get_ylabel()) == ("layer", "SimAOU (cosine)")
    assert "one draw of demonstrations" in figure.get_supxlabel()
    assert "95% interval over 12 queries" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_several_draws_are_drawn_as_their_mean() -> None:
    draws = [made_draw(seed) for seed in (0, 1)]
    figure = made_comparison(draws).plot("layer_profile")
    mean = (draws[0].sim_am_after.layer_profile + draws[1].sim_am_after.layer_profile) / 2
    assert lines(figure.axes[2])["SimAM after finetuning"][:, 1] == pytest.approx(mean.tolist())
    assert "mean over 2 draws" in figure.get_supxlabel()


def test_heatmaps_share_one_scale_and_start_with_layer_0_at_the_bottom() -> None:
    draw = made_draw(layers=(2, 0), heads=3, frozen_layers=1)
    figure = made_comparison([draw]).plot("heads")
    images = [axes.get_images()[0] for axes in figure.axes[:3]]
    assert {image.get_clim() for image in images} == {(-1.0, 1.0)}
    assert {image.origin for image in images} == {"lower"}
    before = np.ma.asarray(images[0].get_array()).data
    assert before[0] == pytest.approx(draw.sim_am_before.head_profile[1].tolist())
    assert np.ma.getmaskarray(np.ma.asarray(images[2].get_array())).all(axis=1).tolist() == [False, True]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "2"]
    assert "hatched: undefined" in figure.get_supxlabel()
    assert "hatched" not in made_comparison([made_draw()]).plot("heads").get_supxlabel()


@pytest.mark.parametrize(("depth", "heads"), [(1, 1), (80, 64)])
def test_small_and_large_models_have_ticks_that_do_not_touch(depth: int, heads: int) -> None:
    draws = [made_draw(n=3, layers=tuple(range(depth)), heads=heads)]
    figure = made_comparison(draws).plot("heads")
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][-1] == str(depth - 1)
    assert len(boxes) == (1 if depth == 1 else 11)
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))
    across = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert all(left.x1 < right.x0 for left, right in pairwise(across))


def test_figures_are_saved_and_shown_without_global_state(tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    figure = made_comparison([made_draw(n=3)]).plot()
    save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.rcParams == settings
    with pytest.raises(UserError, match=r"end the name '.*a.tiff' in .png, .svg or .pdf"):
        save_figure(figure, tmp_path / "a.tiff")


def test_the_grid_draws_every_null_of_every_recipe_with_its_marker() -> None:
    cells = {
        (recipe, shots): [made_draw(seed, n=4) for seed in (0, 1)]
        for recipe in ("a", "b")
        for shots in (2, 4)
    }
    study = made_comparison(cells)
    figure = study.plot()
    simaou = figure.axes[1]
    assert simaou.get_title() == "SimAOU"
    table = study.tables["over_draws"].set_index(["measure", "recipe", "shots"])["mean"]
    for kind in ("gaussian", "permuted_pairs", "shared_baseline"):
        for recipe, marker in (("a", "o"), ("b", "s")):
            want = [table[f"SimAOU, null {kind}", recipe, shots] for shots in (2, 4)]
            drawn = [line for line in simaou.get_lines() if line.get_color() == NULL_COLOURS[kind]]
            assert any(
                line.get_marker() == marker and np.asarray(line.get_ydata()).tolist() == pytest.approx(want)
                for line in drawn
            )
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"null: gaussian", "null: permuted pairs", "null: shared baseline"} <= set(words)


def test_the_title_names_model_and_task_in_short() -> None:
    study = made_comparison({("dai", 1): [made_draw()]}, model="../models/stories260k/", task="mr")
    assert study.plot("heads").get_suptitle() == "stories260k on mr, 1 shot"


def test_several_comparisons_are_drawn_against_shots_and_each_by_itself() -> None:
    cells = [(recipe, shots) for shots in (4, 2) for recipe in ("a", "b")]
    study = made_comparison({cell: [made_draw(n=4)] for cell in cells})
    assert study.plot().get_suptitle() == "pocket on sst2"
    axes = study.plot().axes[1]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4"]
    with pytest.raises(KeyError, match=r"\['b', 2\]"):
        study.plot("heads")
    assert set(study.figures()) == {
        "grid",
        *(
            f"{kind}-{shots}shots-{recipe}"
            for kind in ("layer_profile", "heads", "finetuning_drift")
            for recipe, shots in cells
        ),
    }
