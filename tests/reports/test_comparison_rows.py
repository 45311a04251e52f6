"""Several comparisons below each other, from draws and numbers written by hand."""

from __future__ import annotations

import math

import pytest
from made_draws import made_draw

from iclprobe.analyses.comparison.measures import Intervals, MeasureOverDraws, measures_of, over_draws
from iclprobe.reports.comparison_rows import row_alarms, row_blocks, rows_frame, spread_note

INTERVALS = Intervals(20, 0.95)


def measures(*seeds: int) -> tuple[MeasureOverDraws, ...]:
    return over_draws([measures_of(made_draw(seed), "same_label", INTERVALS) for seed in seeds])


def test_every_measure_but_the_changed_predictions_is_in_some_block() -> None:
    numbers = measures(0, 1)
    shown = [cell for block in row_blocks({"a": numbers}, 2) for _, cells in block.rows for cell in cells]
    wanted = {measure.name: measure for measure in numbers if not measure.name.startswith("predictions")}
    assert len(shown) == len(wanted)
    texts = {cell[0] for cell in shown}
    for measure in wanted.values():
        assert f"{measure.mean:.{1 if measure.unit == '%' else 3}f}" in texts


def test_rows_stand_below_each_other_with_their_spread() -> None:
    rows = {"first": measures(0, 1), "second": measures(2, 3)}
    block = next(block for block in row_blocks(rows, 2) if block.corner.startswith("SimAOU"))
    assert [name for name, _ in block.rows] == ["first", "second"]
    expected = {measure.name: measure for measure in rows["second"]}["SimAOU"]
    assert block.rows[1][1][0] == (f"{expected.mean:.3f}", f"± {expected.std:.3f}", "")


def test_finetuning_that_changed_nothing_is_said_once_for_all_rows() -> None:
    unchanged, changed = (made_draw(seed, finetuning_changes=seed > 0) for seed in (0, 1))
    assert row_alarms({"a": [changed]}) == ()
    (alarm,) = row_alarms({"a": [unchanged, changed], "b": [unchanged], "c": [changed]})
    assert alarm.endswith("in: a (seed 0); b")


def test_every_alarm_is_said_once_with_the_rows_that_it_holds_in() -> None:
    plain, blind = made_draw(0), made_draw(1, icl_learns=False)
    risen = made_draw(2, final_loss=4.0)
    blindness, loss = row_alarms({"a": [plain, blind], "b": [blind, risen], "c": [plain]})
    assert blindness.startswith("ICL is not better than zero-shot") and blindness.endswith(
        "in: a (seed 1); b (seed 1)"
    )
    assert loss.startswith("the training loss rose") and loss.endswith("in: b (seed 2)")


def test_a_frame_has_one_row_for_each_comparison_and_measure() -> None:
    one = measures(0)
    frame = rows_frame([({"control": "none"}, one), ({"control": "other"}, measures(1))], ("control",))
    assert len(frame) == 2 * len(one)
    row = frame[(frame.control == "none") & (frame.measure == "SimAOU")].iloc[0]
    assert row["mean"] == pytest.approx({measure.name: measure.mean for measure in one}["SimAOU"])
    assert math.isnan(row["std"]) and row["draws"] == 1


def test_one_draw_has_no_spread() -> None:
    assert "no spread" in spread_note(1)
    assert "over 3 draws" in spread_note(3)
