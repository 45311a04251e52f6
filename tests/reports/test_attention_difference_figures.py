"""Differences in every figure, read back from what was drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_attention import drawn, panels
from made_attention import made_rows
from made_studies import attention_study

from iclprobe.reports import style
from iclprobe.reports.attention_difference import attention_difference
from iclprobe.reports.attention_heads import attention_heads_figure
from iclprobe.reports.attention_last_row import attention_last_row_figure
from iclprobe.reports.attention_map import attention_map_figure
from iclprobe.reports.attention_rows import AttentionRows


def differences(kind: Any = "pattern") -> tuple[AttentionRows, AttentionRows]:
    zero_shot = made_rows(0, query=6, kind=kind, setting="zero-shot", seed=1)
    finetuned = made_rows(0, query=6, kind=kind, setting="finetuned", seed=2)
    icl = made_rows(3, query=6, kind=kind, setting="ICL", seed=3)
    return attention_difference(finetuned, zero_shot, "all"), attention_difference(icl, zero_shot)


@pytest.mark.parametrize("kind", ["scores", "pattern"])
def test_differences_have_symmetric_limits_around_zero_in_every_figure(kind: Any) -> None:
    for rows in differences(kind):
        most = np.nanmax(np.abs(rows.select([2], [1]).drawn()))
        figures = (
            attention_map_figure(rows, 2, 1),
            attention_heads_figure(rows),
            attention_last_row_figure(rows),
        )
        for figure in figures:
            for axes in panels(figure):
                image = axes.get_images()[0]
                low, high = image.get_clim()
                assert low == -high and image.get_cmap().name == style.DIVERGING_COLOURS
                assert image.norm(0.0) == pytest.approx(0.5)
        assert panels(figures[0])[0].get_images()[0].get_clim()[1] == pytest.approx(most)
        label = f"difference of {'patterns' if kind == 'pattern' else 'scores'}"
        assert label in (figures[0].axes[-1].get_ylabel(), figures[0].axes[-1].get_xlabel())
        assert "square root" not in figures[0].get_supxlabel()
    assert differences()[0].name in attention_map_figure(differences()[0], 0, 0).get_suptitle()


def test_a_difference_over_the_query_says_what_icl_left_for_the_demonstrations() -> None:
    _, rows = differences()
    (share,) = rows.query_shares
    one = attention_map_figure(rows, 2, 1).get_supxlabel().replace("\n", " ")
    assert (
        f"ICL: {share.on_demonstrations[1, 1]:.2f} of the last token's attention was on the demonstrations and "
        f"{share.on_query[1, 1]:.2f} on the query"
    ) in one
    assert "mean over" not in one and "patterns renormalised over the query's tokens" in one
    every = attention_last_row_figure(rows).get_supxlabel().replace("\n", " ")
    assert f"ICL: {share.on_demonstrations.mean():.2f} of" in every
    assert "(mean over 2 layers and 3 heads)" in every
    assert "demonstrations" not in attention_map_figure(differences("scores")[1], 0, 0).get_supxlabel()


def test_the_differences_of_a_study_share_their_colours_and_are_over_the_query_alike() -> None:
    made = attention_study(heads=3)
    limits, notes = [], []
    for pair in ("icl-zsl", "ft-zsl", "icl-ft"):
        figure = made.plot(f"difference-{pair}-layer2")
        limits += [axes.get_images()[0].get_clim() for axes in panels(figure)]
        notes.append(figure.get_supxlabel().replace("\n", " "))
    assert len(set(limits)) == 1 and all(
        "patterns renormalised over the query's tokens" in note for note in notes
    )


def test_a_query_whose_first_token_begins_a_prompt_is_told() -> None:
    with_begin, icl = made_rows(0, query=4, setting="zero-shot"), made_rows(2, query=4, setting="ICL")
    spans = tuple(
        replace(span, start=span.start - 1, stop=span.stop - 1) for span in with_begin.column_spans[1:]
    )
    without = AttentionRows(
        with_begin.values[:, :, 1:, 1:],
        with_begin.visible[:, :, 1:, 1:],
        with_begin.layers,
        with_begin.heads,
        row_tokens=with_begin.column_tokens[1:],
        column_tokens=with_begin.column_tokens[1:],
        row_spans=spans,
        column_spans=spans,
        kind="pattern",
        setting="zero-shot",
    )
    told = "the first token begins the prompt zero-shot: heads rest on it"
    assert told in attention_difference(icl, without).notes
    assert told not in attention_difference(icl, with_begin).notes


def test_no_change_at_all_is_the_colour_of_zero_and_undefined_rows_are_hatched() -> None:
    zero_shot = made_rows(0, query=4)
    same = attention_difference(zero_shot, zero_shot, "all")
    image = panels(attention_map_figure(same, 0, 0))[0].get_images()[0]
    assert image.get_clim() == (-1, 1) and (np.ma.compressed(image.get_array()) == 0).all()
    values = same.values.copy()
    values[..., -1, :] = np.nan
    figure = attention_map_figure(replace(same, values=values), 0, 0)
    assert np.ma.getmaskarray(drawn(panels(figure)[0]))[-1].all()
    assert figure.get_supxlabel() == "hatched: not visible or undefined"
