"""Several comparisons below each other, from draws and numbers written by hand."""

from __future__ import annotations

from typing import Any

from made_draws import made_comparison, made_draw

from iclprobe.reports.comparison_rows import row_alarms, row_blocks, spread_note
from iclprobe.study.finding import Finding


def measures(*seeds: int) -> Any:
    return made_comparison([made_draw(seed) for seed in seeds], resamples=20).tables["over_draws"]


def test_every_measure_but_the_changed_predictions_is_in_some_block() -> None:
    numbers = measures(0, 1)
    shown = [cell for block in row_blocks({"a": numbers}, 2) for _, cells in block.rows for cell in cells]
    wanted = [row for row in numbers.itertuples() if not row.measure.startswith("predictions")]
    assert len(shown) == len(wanted)
    texts = {cell[0] for cell in shown}
    for row in wanted:
        assert f"{row.mean:.{1 if row.unit == '%' else 3}f}" in texts


def test_rows_stand_below_each_other_with_their_spread() -> None:
    rows = {"first": measures(0, 1), "second": measures(2, 3)}
    block = next(block for block in row_blocks(rows, 2) if block.corner.startswith("SimAOU"))
    assert [name for name, _ in block.rows] == ["first", "second"]
    expected = rows["second"].set_index("measure").loc["SimAOU"]
    assert block.rows[1][1][0] == (f"{expected['mean']:.3f}", f"± {expected['std']:.3f}", "")


def alarms_of(**rows: Any) -> tuple[str, ...]:
    study = made_comparison({(name, 8): draws for name, draws in rows.items()})
    return row_alarms(study.findings, lambda where: str(where["recipe"]), len(study.config.seeds))


def test_finetuning_that_changed_nothing_is_said_once_for_all_rows() -> None:
    unchanged, changed = (made_draw(seed, finetuning_changes=seed > 0) for seed in (0, 1))
    still = made_draw(1, finetuning_changes=False)
    assert alarms_of(a=[changed]) == ()
    (alarm,) = alarms_of(a=[unchanged, changed], b=[unchanged, still], c=[made_draw(0), changed])
    assert alarm.endswith("in: a (seed 0); b")


def test_every_alarm_is_said_once_with_the_rows_that_it_holds_in() -> None:
    plain, blind = made_draw(0), made_draw(1, icl_learns=False)
    risen = made_draw(0, final_loss=4.0)
    blindness, loss = alarms_of(a=[plain, blind], b=[risen, blind], c=[plain, made_draw(1)])
    assert blindness.startswith("ICL is not better than zero-shot") and blindness.endswith(
        "in: a (seed 1); b (seed 1)"
    )
    assert loss.startswith("the training loss rose") and loss.endswith("in: b (seed 0)")


def test_an_alarm_of_another_name_is_said_in_its_own_words() -> None:
    found = [Finding("fire", "the house burns", "alarm", where={"recipe": "a"})]
    assert row_alarms(found, lambda where: str(where["recipe"]), 1) == ("the house burns, in: a",)


def test_one_draw_has_no_spread() -> None:
    assert "no spread" in spread_note(1)
    assert "over 3 draws" in spread_note(3)
