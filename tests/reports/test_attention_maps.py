"""Maps of attention: what is drawn is what was captured, tokens can be read, and what is hidden looks hidden."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iclprobe
from iclprobe.errors import UserError
from iclprobe.reports.attention_difference import attention_difference
from iclprobe.reports.attention_map import (
    ONE_COLUMN,
    attention_heads_figure,
    attention_map_figure,
    last_row_figure,
)
from iclprobe.reports.attention_rows import AttentionRows, Token
from iclprobe.reports.captured_attention import captured_rows
from iclprobe.reports.grouped_attention import folded, grouped, readable
from iclprobe.reports.style import png_bytes, save_figure
from iclprobe.reports.token_names import token_name


def prompt_tokens(demonstrations: int, inside: int, query: int) -> tuple[Token, ...]:
    """Demonstrations of so many tokens, the last of each its label, and a query."""
    tokens = [
        Token(
            f"d{number}.{place}",
            "demonstration_label" if place == inside - 1 else "demonstration_input",
            number,
            "good",
        )
        for number in range(demonstrations)
        for place in range(inside)
    ]
    tokens += [Token(f"q{place}", "query") for place in range(query)]
    if not demonstrations:
        return tuple(tokens)
    first = tokens[0]
    return (Token(first.name, first.part, first.demonstration, first.label, is_first=True), *tokens[1:])


def made(
    demonstrations=2, inside=3, query=4, layers=2, heads=3, kind: Any = "pattern", seed=0
) -> AttentionRows:
    """A causal prompt; patterns add up to one."""
    tokens = prompt_tokens(demonstrations, inside, query)
    count = len(tokens)
    generator = np.random.default_rng(seed)
    visible = np.tril(np.ones((count, count), dtype=bool))[None, None]
    scores = np.where(visible, generator.normal(size=(layers, heads, count, count)), -np.inf)
    pattern = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    values = pattern if kind == "pattern" else np.where(visible, scores, 0.0)
    return AttentionRows(
        values, visible, tuple(range(layers)), tuple(range(heads)), tokens, tokens, kind, title="in context"
    )


def drawn(axes: Any) -> np.ma.MaskedArray:
    (image,) = axes.images
    return image.get_array()


def names(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" the", "the"),
        ("the", "the"),
        (" ", "␣"),
        ("  ", "␣␣"),
        ("\n\n", "⏎⏎"),
        (" \n", "␣⏎"),
        ("", "(empty)"),
        ("a\tb", "a⇥b"),
        ("$x$", r"\$x\$"),
        ("\x00", "U+0000"),
        ("中", "U+4E2D"),
        ("<|im_start|>", "<|im_start|>"),
        ("w" * 30, "w" * 13 + "…"),
    ],
)
def test_every_token_can_be_read(text: str, name: str) -> None:
    assert token_name(text) == name


@pytest.mark.parametrize("kind", ["pattern", "scores"])
def test_groups_are_those_of_a_literal_loop(kind: Any) -> None:
    rows = made(kind=kind)
    row_groups = [(Token("a", ""), [0, 1]), (Token("b", ""), [2]), (Token("c", ""), [3, 4, 5, 6, 7, 8, 9])]
    column_groups = [(Token("x", ""), [0, 4, 5]), (Token("y", ""), [1, 2, 3]), (Token("z", ""), [9])]
    got = grouped(rows, row_groups, column_groups)
    for layer in range(2):
        for head in range(3):
            for r, (_, row_tokens) in enumerate(row_groups):
                for c, (_, column_tokens) in enumerate(column_groups):
                    cells = [
                        [
                            rows.values[layer, head, p, q]
                            for q in column_tokens
                            if rows.visible[layer, head, p, q]
                        ]
                        for p in row_tokens
                    ]
                    cells = [cell for cell in cells if cell]
                    assert got.visible[layer, head, r, c] == bool(cells)
                    if not cells:
                        continue
                    each = (
                        [sum(cell) for cell in cells]
                        if kind == "pattern"
                        else [v for cell in cells for v in cell]
                    )
                    assert got.values[layer, head, r, c] == pytest.approx(np.mean(each))


def test_folded_rows_of_a_pattern_still_add_up_to_one() -> None:
    rows = made(demonstrations=3)
    got = folded(rows)
    assert [token.name for token in got.columns] == [
        "d0.0",
        "1 good",
        "2 good",
        "3 good",
        "q0",
        "q1",
        "q2",
        "q3",
    ]
    query = got.values[:, :, -4:]
    np.testing.assert_allclose(query.sum(-1), 1.0)
    assert "each demonstration is one cell (shares add up)" in got.note


@pytest.mark.parametrize(
    ("demonstrations", "inside", "query"), [(2, 3, 4), (30, 40, 20), (0, 0, 900), (200, 4, 300)]
)
def test_a_prompt_of_any_length_becomes_readable(demonstrations: int, inside: int, query: int) -> None:
    tokens = (
        prompt_tokens(demonstrations, inside, query)
        if demonstrations
        else tuple(Token(f"q{i}", "query") for i in range(query))
    )
    count = len(tokens)
    rows = AttentionRows(
        np.full((1, 1, 2, count), 1 / count),
        np.ones((1, 1, 2, count), dtype=bool),
        (0,),
        (0,),
        tokens[-2:],
        tokens,
        "pattern",
    )
    got = readable(rows, 60)
    assert (
        len(got.columns) <= max(60, count if count <= 60 else 60) or len(got.columns) <= demonstrations + 60
    )
    np.testing.assert_allclose(got.values.sum(-1), 1.0)
    assert bool(got.note) == (count > 60)
    figure = last_row_figure(rows)
    assert len(png_bytes(figure)) > 1000


def test_a_map_draws_every_visible_cell_and_hatches_the_others() -> None:
    rows = made().of_layer(1)
    figure = attention_map_figure(rows, head=2)
    axes = figure.axes[0]
    cells = drawn(axes)
    np.testing.assert_allclose(cells.filled(-1), np.where(rows.visible[0, 2], rows.values[0, 2], -1))
    assert axes.patch.get_hatch() and names(axes.xaxis) == names(axes.yaxis) == [
        token.name for token in rows.columns
    ]
    assert figure.get_suptitle() == "in context: layer 1, head 2"
    assert [text.get_text() for text in axes.texts] == ["1 good", "2 good"]
    assert len(axes.lines) == 4
    mean = drawn(attention_map_figure(rows).axes[0])
    np.testing.assert_allclose(mean.compressed(), rows.values[0].mean(0)[rows.visible[0, 0]])
    with pytest.raises(KeyError, match="no head 7: there are 0, 1, 2"):
        attention_map_figure(rows, head=7)


def test_the_first_token_does_not_outshine_the_others() -> None:
    rows = made().of_layer(0)
    rows.values[..., 0] = 1.0
    figure = attention_map_figure(rows, head=0)
    others = rows.values[0, 0, :, 1:][rows.visible[0, 0, :, 1:]]
    assert figure.axes[0].images[0].get_clim() == pytest.approx((0.0, others.max()))
    assert figure.axes[1]._colorbar.extend == "max"  # type: ignore[attr-defined]


@pytest.mark.parametrize("heads", [1, 2, 5, 9, 12, 32])
def test_heads_stand_side_by_side_on_one_scale(heads: int) -> None:
    rows = made(heads=heads, layers=1)
    figure = attention_heads_figure(rows)
    panels = [axes for axes in figure.axes if axes.images and axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [f"head {head}" for head in range(heads)]
    for head, axes in enumerate(panels):
        np.testing.assert_allclose(drawn(axes).compressed(), rows.values[0, head][rows.visible[0, head]])
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert figure.get_size_inches()[1] <= 9


def test_the_last_row_is_drawn_over_layers() -> None:
    rows = made(layers=4)
    axes = last_row_figure(rows, head=1).axes[0]
    np.testing.assert_allclose(drawn(axes).compressed(), rows.values[:, 1, -1].ravel())
    assert names(axes.yaxis) == ["0", "1", "2", "3"] and axes.images[0].origin == "lower"


def test_a_difference_over_the_same_tokens_is_the_difference_of_every_cell() -> None:
    one, other = made(seed=0), made(seed=1)
    got = attention_difference(one, other)
    np.testing.assert_allclose(got.values[got.visible], (one.values - other.values)[got.visible])
    assert got.note == "" and got.title == "in context − in context"
    low, high = attention_map_figure(got.of_layer(0)).axes[0].images[0].get_clim()
    assert (
        low == -high and attention_map_figure(got.of_layer(0)).axes[0].images[0].get_cmap().name == "RdBu_r"
    )


@pytest.mark.parametrize("kind", ["pattern", "scores"])
def test_a_difference_beside_demonstrations_is_over_the_query_and_says_what_had_gone(kind: Any) -> None:
    icl = made(kind=kind)
    alone = made(demonstrations=1, inside=1, query=4, kind=kind, seed=1)
    zero_shot = alone.of_tokens(range(1, 5), range(1, 5))
    if kind == "pattern":
        zero_shot.values[:] /= zero_shot.values.sum(-1, keepdims=True)
    got = attention_difference(icl, zero_shot)
    own = icl.values[:, :, 6:, 6:]
    if kind == "pattern":
        own = own / own.sum(-1, keepdims=True)
        elsewhere = icl.values[:, :, -1, :6].sum(-1).mean()
        assert f"{elsewhere:.0%} and 0% of the last token's attention was elsewhere" in got.note
    np.testing.assert_allclose(got.values[got.visible], (own - zero_shot.values)[got.visible])
    assert [token.name for token in got.columns] == ["q0", "q1", "q2", "q3"]


def test_differences_of_what_is_not_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="same layers, heads and kind"):
        attention_difference(made(), made(heads=2))
    with pytest.raises(ValueError, match="not the same tokens"):
        attention_difference(made(), made(query=5))


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
        assert [token.name for token in rows.columns] == [
            token_name(text) for text in got.prompts[index].tokens
        ]
    axes = got.plot_attention(prompt=1, layer=-1, head=3).axes[0]
    rows = captured_rows(got, 1).of_layer(5)
    np.testing.assert_allclose(drawn(axes).compressed(), rows.values[0, 3][rows.visible[0, 3]])
    assert [text.get_text() for text in axes.texts] == ["1 blick", "2 foo", "3 tov"]


def test_a_capture_of_one_row_is_drawn_over_layers() -> None:
    got = captured(sites=("pattern",), columns="all")
    figure = got.plot_attention(prompt=2, head=0)
    np.testing.assert_allclose(drawn(figure.axes[0]).compressed(), got.pattern[2, :, 0].numpy().ravel())
    assert figure.get_suptitle() == "in context: the last token, head 0"
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


def test_strange_tokens_and_narrow_pages_draw_without_a_warning() -> None:
    rows = made()
    strange = tuple(
        Token(token_name(text), "query")
        for text in ("$a$", "", " ", "\n", "中文", "\ufffd", "‮", "é", "<s>", "_^{")
    )
    odd = AttentionRows(rows.values, rows.visible, rows.layers, rows.heads, strange, strange, "pattern")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for width in (ONE_COLUMN, 6.9):
            for figure in (
                attention_map_figure(odd.of_layer(0), width=width),
                attention_heads_figure(odd.of_layer(1), width=width),
                last_row_figure(odd, width=width),
            ):
                assert len(png_bytes(figure)) > 1000
                assert figure.get_size_inches()[0] == pytest.approx(width)


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_is_saved_in_three_kinds_and_twice_alike(kind: str, start: bytes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_figure(attention_map_figure(made().of_layer(0)), tmp_path / f"{name}.{kind}")
    one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
    assert one.startswith(start) and one == two
    with pytest.raises(UserError, match=r"end the name .*one\.gif"):
        save_figure(attention_map_figure(made().of_layer(0)), tmp_path / "one.gif")
