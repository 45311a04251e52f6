"""Figures as files: PNG, SVG and PDF, the same bytes each time, at the size that a paper asks for."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from made_attention import made_rows

from iclprobe.errors import UserError
from iclprobe.reports import style
from iclprobe.reports.attention_map import attention_map_figure
from iclprobe.reports.style import picture_bytes, png_bytes, save_figure

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def some_figure() -> Any:
    return attention_map_figure(made_rows(), 0, 0, width=style.ONE_COLUMN)


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_the_end_of_the_name_says_the_type(kind: str, tmp_path: Path) -> None:
    figure = some_figure()
    for name in (f"a.{kind}", f"b.{kind.upper()}"):
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(BEGINNINGS[kind])
        assert (tmp_path / name).read_bytes() == picture_bytes(figure, kind)


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_the_same_figure_is_the_same_bytes_at_another_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = picture_bytes(some_figure(), kind)
    time.sleep(1.1)  # Dates in files are of whole seconds.
    assert picture_bytes(some_figure(), kind) == first
    assert b"Date" not in first and b"<dc:date>" not in first


def test_layouts_that_a_user_prefers_move_nothing_while_a_figure_is_written() -> None:
    from matplotlib import rc_context

    figure = some_figure()
    first = style.pictures_bytes(figure, BEGINNINGS)
    engine = figure.get_layout_engine()
    for preferred in ("figure.autolayout", "figure.constrained_layout.use"):
        with rc_context({preferred: True}):  # type: ignore[dict-item]
            assert style.pictures_bytes(some_figure(), BEGINNINGS) == first
    assert engine is figure.get_layout_engine() is not None, "it is laid out again when it changes"


def test_a_figure_for_a_paper_has_its_size_in_every_file() -> None:
    figure = some_figure()
    width, height = figure.get_size_inches()
    assert width == style.ONE_COLUMN
    pixels = struct.unpack(">II", picture_bytes(figure, "png")[16:24])
    assert pixels == (round(300 * width), int(300 * height))
    found = re.search(rb"MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", picture_bytes(figure, "pdf"))
    assert found is not None
    assert [float(side) / 72 for side in found.groups()] == pytest.approx([width, height], abs=1e-3)
    found = re.search(rb'width="([\d.]+)pt" height="([\d.]+)pt"', picture_bytes(figure, "svg"))
    assert found is not None
    assert [float(side) / 72 for side in found.groups()] == pytest.approx([width, height], abs=1e-3)


def test_every_figure_keeps_its_size_in_its_file() -> None:
    figure = style.new_figure(6, 4)
    figure.text(0.5, 0.5, "in the middle")
    width, height = struct.unpack(">II", png_bytes(figure)[16:24])
    assert (width, height) == (6 * style.DOTS_PER_INCH, 4 * style.DOTS_PER_INCH)


def test_letters_of_a_pdf_are_outlines_that_publishers_take() -> None:
    assert b"/Type3" not in picture_bytes(some_figure(), "pdf")


@pytest.mark.parametrize("name", ["a.jpg", "a", "png", ".png", "a.svgz"])
def test_other_types_are_refused_in_a_sentence_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"PNG, SVG or PDF: end the name '.*' in .png, .svg or .pdf"):
        save_figure(some_figure(), tmp_path / name)
    assert not [*tmp_path.iterdir()]
