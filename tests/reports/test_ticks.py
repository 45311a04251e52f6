"""Ticks and scales: ends are named, and scales follow what is drawn."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from iclprobe.reports import style
from iclprobe.reports.checkpoint_axis import checkpoint_axis
from iclprobe.reports.figure_text import short_name
from iclprobe.reports.intervals import draw_band, interval_handles
from iclprobe.reports.ticks import apart, scale_by_size, thinned


@pytest.mark.parametrize("count", [1, 2, 3, 12, 13, 30, 31, 80, 97])
def test_the_first_and_the_last_are_always_named(count: int) -> None:
    kept = thinned(count)
    assert kept[0] == 0 and kept[-1] == count - 1 and len(kept) <= 13
    strides = np.diff(kept)
    assert len(strides) < 2 or (set(strides[:-1].tolist()) == {strides[0]} and strides[-1] >= strides[0] / 2)


def test_names_are_as_far_apart_as_they_have_to_be() -> None:
    places = np.array([0, 1, 2, 4, 8, 16, 32, 33.0])
    kept = places[apart(places, 3.0)]
    assert kept[0] == 0 and kept[-1] == 33 and (np.diff(kept) >= 3).all() and 4 in kept


def scaled(values: list[float]) -> tuple[str, str, tuple[float, float], list[str]]:
    axes = style.new_figure(3, 2).subplots()
    said = scale_by_size(axes, "y", values)
    return said, axes.get_yscale(), axes.get_ylim(), [label.get_text() for label in axes.get_yticklabels()]


def test_scales_are_logarithmic_where_values_span_decades() -> None:
    assert scaled([1, 50])[:2] == ("", "linear") and scaled([1, 50])[2][0] == 0
    said, scale, (low, high), _ = scaled([1e-3, 50])
    assert (said, scale) == (", log scale", "log") and 0 < low < 1e-3 and high > 50
    said, scale, (low, high), names = scaled([0, -0.1, 1e-6, 50])
    assert (said, scale) == (", log scale, 0 at its foot", "symlog") and high > 50 and names[0] == "0"
    assert -1e-6 < low < 0, "what is 0 is seen above the foot"
    assert scaled([0, 0])[1:3] == ("linear", (0, 1)) and scaled([])[1] == "linear"


def series(steps: list[int | None]) -> pandas.DataFrame:
    frame = pandas.DataFrame({"checkpoint": [f"c{place}" for place in range(len(steps))]})
    return frame.assign(step=pandas.array(steps, dtype="Int64"))


def test_checkpoints_stand_at_their_steps() -> None:
    even = checkpoint_axis(series([0, 100, 300]))
    assert even.places.tolist() == [0, 100, 300] and even.title == "training step" and even.foot == 0
    assert even.edges.tolist() == [0, 50, 200, 300]
    doubling = checkpoint_axis(series([0, 1, 2, 512, 143000]))
    assert doubling.title == "training step (log scale)" and doubling.foot == 1
    unknown = checkpoint_axis(series([None, 5, 9]))
    assert unknown.places.tolist() == [0, 1, 2] and unknown.title == "checkpoint (evenly spaced)"


@pytest.mark.parametrize("steps", [[0, 100, 300], [0, 1, 2, 512, 143000], [1, 2, 4, 1000], [None, 5]])
def test_checkpoints_fill_their_axis(steps: list[int | None]) -> None:
    checkpoints = checkpoint_axis(series(steps))
    axes = style.new_figure(3, 2).subplots()
    axes.plot(checkpoints.places, np.ones(len(steps)))
    checkpoints.draw(axes, "x", 200)
    checkpoints.leave_room(axes)
    drawn = [
        axes.transAxes.inverted().transform(axes.transData.transform((place, 1)))[0]
        for place in checkpoints.places
    ]
    assert 0.01 < drawn[0] < 0.06 and 0.94 < drawn[-1] < 0.99


def test_a_band_without_words_is_refused_and_none_is_drawn_of_nothing() -> None:
    figure = style.new_figure(3, 2)
    axes = figure.subplots()
    draw_band(axes, [0, 1], [2, 3], [2, 3], "red")
    draw_band(axes, [0, 1], [np.nan, np.nan], [np.nan, np.nan], "red")
    assert not axes.collections and interval_handles(figure, "") == []
    draw_band(axes, [0, 1, 2, 4], [0, 0, np.nan, 0], [1, 1, np.nan, 1], "red")
    assert len(axes.collections) == 2, "a band, and a bar of the place that stands alone"
    with pytest.raises(ValueError, match="no words"):
        interval_handles(figure, "")


def test_long_names_keep_their_ends() -> None:
    assert short_name("short") == "short" and short_name("x" * 26) == "x" * 26
    said = short_name("a-very-long-name-of-something-0.001", 20)
    assert len(said) == 20 and said.startswith("a-very") and said.endswith("0.001")
