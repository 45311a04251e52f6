"""What a capture, or a study of attention, draws is what it holds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

import iclprobe
from iclprobe.errors import UserError
from iclprobe.reports.attention_study_maps import study_rows
from iclprobe.reports.captured_attention import captured_rows


def drawn(axes: Any) -> np.ma.MaskedArray:
    (image,) = axes.images
    return image.get_array()


@cache
def captured(**plan: Any) -> Any:
    model = iclprobe.load_model("pocket", device="cpu")
    task = iclprobe.load_task("pocket-topic-code")
    prompts = iclprobe.build_prompts(
        model.require_tokenizer(),
        task.template,
        iclprobe.draw_demonstrations(task, 3, 0),
        task.validation[:3],
        model.context_length,
    )
    return iclprobe.capture(model, prompts.icl, iclprobe.CapturePlan(**plan), setting="icl")


@pytest.mark.parametrize("site", ["pattern", "scores"])
def test_a_capture_draws_the_numbers_that_it_holds(site: Any) -> None:
    got = captured(sites=(site,), positions="prompt", columns="all", layers=(2, 5))
    for index in range(3):
        rows = captured_rows(got, index)
        count = len(got.prompts[index].ids)
        values = getattr(got, site)[index, :, :count, :, :count].numpy()
        np.testing.assert_array_equal(rows.values, values.swapaxes(1, 2))
        assert rows.row_tokens == rows.column_tokens == got.prompts[index].tokens
    axes = got.plot_attention(prompt=1, layer=-1, head=3).axes[0]
    rows = captured_rows(got, 1).select(layers=(5,), heads=(3,))
    np.testing.assert_allclose(drawn(axes).compressed(), rows.values[0, 0][rows.visible[0, 0]])
    mean = drawn(got.plot_attention(prompt=1, layer=5, head="mean").axes[0])
    every = captured_rows(got, 1).select(layers=(5,))
    np.testing.assert_allclose(mean.compressed(), every.values[0].mean(0)[every.visible[0, 0]], atol=1e-6)
    written = [text.get_text() for each in axes.figure.axes for text in each.texts]
    assert {"1 blick", "2 foo", "3 tov"} <= set(written)


def test_a_capture_of_one_row_is_drawn_over_layers() -> None:
    got = captured(sites=("pattern",), columns="all")
    figure = got.plot_attention(prompt=2, head=0)
    np.testing.assert_allclose(drawn(figure.axes[0]).compressed(), got.pattern[2, :, 0].numpy().ravel())
    assert figure.get_suptitle() == "ICL, last token, head 0"
    label = captured(sites=("scores",), positions="first_label_token").plot_attention(layer=0, head="mean")
    assert label.axes[0].images


@pytest.mark.parametrize(
    ("plan", "options", "told"),
    [
        ({"sites": ("attention_output",)}, {}, "holds no pattern or scores"),
        ({"sites": ("pattern",)}, {"kind": "scores"}, "holds no scores"),
        ({"sites": ("pattern",)}, {"prompt": 3}, "no prompt 3: the capture has prompts 0 to 2"),
        ({"sites": ("pattern",)}, {"layer": 6}, "no layer 6"),
        ({"sites": ("pattern",)}, {"head": 4}, "no head 4: the capture has heads 0 to 3"),
        ({"sites": ("pattern",)}, {"head": "all"}, "neither a number nor 'mean'"),
    ],
)
def test_what_a_capture_does_not_hold_is_refused(
    plan: dict[str, Any], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        captured(**plan).plot_attention(**options)


def test_a_study_draws_the_maps_that_it_holds() -> None:
    made = iclprobe.attention(
        shots=3, limit=4, device="cpu", resamples=10, layers=(1, 4), settings=("zsl", "icl")
    )
    rows = study_rows(made, "icl")
    np.testing.assert_array_equal(rows.values, made.arrays["map-icl"]["values"])
    own = made.tables["map_tokens"]
    assert rows.column_tokens == tuple(own[own["setting"] == "icl"]["text"])
    assert {mark.name for mark in rows.column_spans} == {
        *("begin", "demonstration input", "demonstration label", "separator", "query"),
    }
    figure = made.plot("map-icl-layer4")
    panels = [axes for axes in figure.axes if axes.images and axes.get_title().startswith("head")]
    for head, axes in enumerate(panels):
        want = rows.select(layers=(4,)).values[0, head][rows.visible[1, 0]]
        np.testing.assert_allclose(drawn(axes).compressed(), want)
    assert len(panels) == 4
    last = made.plot("last-token-icl").axes[0]
    np.testing.assert_allclose(
        drawn(last).compressed(), made.arrays["last-icl"]["values"][:, :, 0].mean(1).ravel(), rtol=1e-6
    )
    difference = made.plot("difference-icl-zsl-layer4")
    written = " ".join(text.get_text() for text in difference.findobj(Text)).replace("\n", " ")
    assert "of the last token's attention was on the demonstrations" in written
