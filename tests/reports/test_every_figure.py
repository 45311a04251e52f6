"""What holds for every figure of every analysis, at both widths of a paper: artists, labels and ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from drawn_figures import (
    colour_of,
    counted_ends,
    data_of,
    drawn_names,
    drawn_texts,
    every_axes,
    is_named,
    overlapping,
    panels,
)
from made_studies import STUDIES, reproduction, studies_of

from iclprobe.analyses.papers.catalogue import EXPERIMENTS
from iclprobe.reports import style
from iclprobe.reports.figure_text import subject_title
from iclprobe.reports.intervals import BAND, BAR
from iclprobe.reports.papers_figures import FIGURES, OF_EACH_PART
from iclprobe.study.analysis import registered_analyses
from iclprobe.study.figure_kinds import draw_figure

NAMES = [
    name for name, found in registered_analyses().items() if found.config.__module__.startswith("iclprobe.")
]
WIDTHS = (style.ONE_COLUMN, style.TWO_COLUMNS)
PIXEL = 1.5
INTERVAL = re.compile(r"± one standard deviation over |\d+% interval|range over \d+ layers")
COUNTED = re.compile(r"layer|head|epoch|training step|checkpoint|demonstrations?|shots")


def kinds_of(study: Any) -> list[str]:
    """Return the kinds of figure that a study has, one of each picture of a prompt."""
    seen: dict[str, str] = {}
    for kind in study.drawers():
        seen.setdefault(re.sub(r"^(last-token|map|difference)-.*", r"\1", kind), kind)
    if study.analysis == "compare":
        if len(study.cells) == 1:
            return [kind for kind in seen if kind not in ("grid", "series")]
        return ["series"] if "series" in seen else ["grid"]
    if study.analysis == "outputs" and study.tables["rows"]["model"].nunique() == 1:
        return ["epochs", "pairs"]
    return list(seen.values())


def cases() -> Iterator[Any]:
    for name in NAMES:
        for variant, study in studies_of(name).items():
            for kind in kinds_of(study):
                yield pytest.param(name, variant, kind, id=f"{name}-{variant}-{kind}")


CASES = list(cases())
EVERY_FIGURE = pytest.mark.parametrize(("name", "variant", "kind"), CASES)


@cache
def figure_of(name: str, variant: str, kind: str, width: float) -> Any:
    figure = draw_figure(studies_of(name)[variant].drawers()[kind], studies_of(name)[variant], width)
    figure.draw_without_rendering()
    return figure


def at_both_widths(name: str, variant: str, kind: str) -> list[Any]:
    return [figure_of(name, variant, kind, width) for width in WIDTHS]


def test_every_kind_of_every_analysis_is_tried() -> None:
    assert set(NAMES) == set(STUDIES)
    for name in NAMES:
        declared = registered_analyses()[name].figures
        if isinstance(declared, dict):
            tried = {case.values[2] for case in CASES if case.values[0] == name}
            assert tried == set(declared), name
    drawn = {study.experiment.figure for study in studies_of("reproduce").values()}
    assert drawn == set(FIGURES)


def test_figures_that_are_each_parts_own_are_those_of_its_analysis() -> None:
    for experiment in EXPERIMENTS:
        if experiment.figure not in FIGURES:
            made = reproduction(experiment)
            part = made.parts[experiment.parts[0].label]
            kind = OF_EACH_PART[experiment.figure]
            assert kind is None or kind in part.drawers()
            assert next(iter(made.drawers())) == "figure" and len(made.drawers()) == len(experiment.parts)


@EVERY_FIGURE
def test_every_text_is_inside_the_picture_and_beside_all_else(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        renderer = figure.canvas.get_renderer()
        right, top = figure.get_size_inches() * figure.dpi
        texts = drawn_texts(figure)
        for text in texts:
            box = text.get_window_extent(renderer)
            assert box.x0 >= -PIXEL and box.x1 <= right + PIXEL, text
            assert box.y0 >= -PIXEL and box.y1 <= top + PIXEL, text
        # Slanted names lie in boxes that overlap; another test looks at them.
        straight = [text for text in texts if text.get_rotation() in (0, 90)]
        boxes = np.array([text.get_window_extent(renderer).extents for text in straight])
        across = np.minimum.outer(boxes[:, 2], boxes[:, 2]) - np.maximum.outer(boxes[:, 0], boxes[:, 0])
        up = np.minimum.outer(boxes[:, 3], boxes[:, 3]) - np.maximum.outer(boxes[:, 1], boxes[:, 1])
        # Boxes of letters are a little higher than the letters.
        spare = 0.2 * style.LEGEND_SIZE * figure.dpi / 72
        touching = np.argwhere(np.triu((across > spare) & (up > spare), 1))
        assert not len(touching), [straight[place] for place in touching[0]]
        around = [figure._suptitle, figure._supxlabel, *figure.legends]
        outside = [each.get_window_extent(renderer) for each in around if each is not None]
        for box in outside:
            for axes in figure.axes:
                assert not overlapping(box, axes.get_tightbbox(renderer), 2 * PIXEL), axes
        assert not [axes for axes in figure.axes if axes.get_legend()], "a legend lies over the data"


@EVERY_FIGURE
def test_slanted_names_at_an_axis_do_not_touch(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        for axes in every_axes(figure):
            for axis in (axes.xaxis, axes.yaxis):
                labels = [label for label in drawn_names(axis) if label.get_rotation() not in (0, 90)]
                places = sorted(label.get_transform().transform(label.get_position())[0] for label in labels)
                size = max((label.get_fontsize() for label in labels), default=0) * figure.dpi / 72
                assert all(after - before >= 0.95 * size for before, after in pairwise(places))


@EVERY_FIGURE
def test_every_axis_and_colour_bar_says_what_it_is(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        assert figure.get_suptitle()
        for axes in figure.axes:
            if axes.get_label() == "<colorbar>":
                assert axes.get_xlabel() or axes.get_ylabel()
                continue
            box, others = axes.get_position(), panels(figure)
            below = [each for each in others if abs(each.get_position().x0 - box.x0) < 0.02]
            beside = [each for each in others if abs(each.get_position().y0 - box.y0) < 0.02]
            assert any(is_named(each.xaxis) for each in below)
            assert any(is_named(each.yaxis) for each in beside)


@EVERY_FIGURE
def test_ranges_hold_all_data_and_intervals(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        for axes in panels(figure):
            for x, y in data_of(axes):
                for values, limits, scale in (
                    (x, axes.get_xlim(), axes.get_xscale()),
                    (y, axes.get_ylim(), axes.get_yscale()),
                ):
                    # What is never negative has intervals that end at the foot of a scale that has no less.
                    values = np.maximum(values, 0) if scale == "symlog" else values
                    low, high = min(limits), max(limits)
                    slack = 1e-6 * (high - low)
                    assert (values >= low - slack).all() and (values <= high + slack).all(), (axes, limits)


@EVERY_FIGURE
def test_every_figure_of_a_study_says_of_what_model_or_task(name: str, variant: str, kind: str) -> None:
    # Pictures of one prompt stand beside it; the construction has no model, and parts of a paper are of many.
    if re.match("map|last-token|difference", kind) or name in ("construction", "reproduce", "claims"):
        return
    other = {"drift": "pocket", "gather": "grid: "}
    whose = other.get(name) or subject_title(studies_of(name)[variant].config)
    for figure in at_both_widths(name, variant, kind):
        title = figure.get_suptitle().replace("\n", " ")
        assert title.startswith(whose), title


def test_pairs_of_a_study_of_two_models_say_of_which_they_are() -> None:
    figure = figure_of("outputs", "two models", "pairs", style.TWO_COLUMNS)
    assert figure.get_supxlabel().startswith("one, 64 demonstrations")


@EVERY_FIGURE
def test_what_is_drawn_stands_in_the_middle(name: str, variant: str, kind: str) -> None:
    from matplotlib.transforms import Bbox

    for figure in at_both_widths(name, variant, kind):
        width = figure.get_size_inches()[0] * figure.dpi
        renderer = figure.canvas.get_renderer()
        if not figure.axes:
            continue
        box = Bbox.union([axes.get_tightbbox(renderer) for axes in figure.axes])
        assert abs(box.x0 - (width - box.x1)) < 0.12 * width


@EVERY_FIGURE
def test_cells_that_touch_are_pixels_in_every_file(name: str, variant: str, kind: str) -> None:
    from matplotlib.collections import QuadMesh

    for figure in at_both_widths(name, variant, kind):
        for axes in panels(figure):
            assert all(each.get_rasterized() for each in axes.collections if isinstance(each, QuadMesh))


@EVERY_FIGURE
def test_every_interval_has_a_word(name: str, variant: str, kind: str) -> None:
    from matplotlib.collections import FillBetweenPolyCollection
    from matplotlib.container import ErrorbarContainer

    for figure in at_both_widths(name, variant, kind):
        marked = False
        for axes in panels(figure):
            for artist in axes.get_children():
                if isinstance(artist, FillBetweenPolyCollection):
                    assert artist.get_gid() == BAND
                marked |= artist.get_gid() in (BAND, BAR)
            for container in axes.containers:
                if isinstance(container, ErrorbarContainer):
                    drawn = [*container.lines[1], *container.lines[2]]
                    assert all(part.get_gid() == BAR for part in drawn)
        words = [
            text.get_text().replace("\n", " ") for legend in figure.legends for text in legend.get_texts()
        ]
        assert marked == any(INTERVAL.match(text) for text in words), words


def named(label: str) -> str | None:
    """Return the name of the table that a label begins with, if any."""
    found = [each for each in style.NAMED_COLOURS if re.match(re.escape(each) + r"($|,| \()", label)]
    return max(found, key=len, default=None)


@EVERY_FIGURE
def test_a_name_has_its_colour_of_the_one_table(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        for axes in panels(figure):
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                base = named(label)
                if base is not None and "diverged" not in label:
                    assert colour_of(handle) == style.NAMED_COLOURS[base], label
        for legend in figure.legends:
            for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
                base = named(text.get_text())
                if base is not None and "diverged" not in text.get_text():
                    assert colour_of(handle) == style.NAMED_COLOURS[base], text


@EVERY_FIGURE
def test_areas_of_one_legend_look_different(name: str, variant: str, kind: str) -> None:
    from matplotlib.patches import Patch

    for figure in at_both_widths(name, variant, kind):
        for legend in figure.legends:
            areas = [handle for handle in legend.legend_handles if isinstance(handle, Patch)]
            looks = [(each.get_facecolor(), each.get_edgecolor(), each.get_hatch()) for each in areas]
            assert len(set(looks)) == len(looks), [text.get_text() for text in legend.get_texts()]


@EVERY_FIGURE
def test_what_is_counted_has_its_first_and_last_tick(name: str, variant: str, kind: str) -> None:
    for figure in at_both_widths(name, variant, kind):
        for axes in panels(figure):
            for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
                if not COUNTED.match(axis.get_label_text()):
                    continue
                ends = counted_ends(axes, side)
                ticks = [
                    float(place)
                    for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
                    if label.get_text()
                ]
                assert min(ticks) == pytest.approx(ends[0]) and max(ticks) >= ends[1] - 1e-9, (axis, ticks)


def test_the_same_name_has_the_same_colour_in_every_figure_of_a_study() -> None:
    for name in NAMES:
        for variant, study in studies_of(name).items():
            colours: dict[str, set[str]] = {}
            for kind in kinds_of(study):
                for legend in figure_of(name, variant, kind, style.TWO_COLUMNS).legends:
                    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
                        colours.setdefault(text.get_text(), set()).add(colour_of(handle))
            several = {
                label: found for label, found in colours.items() if len(found) > 1 and "±" not in label
            }
            assert not several, (name, variant)
