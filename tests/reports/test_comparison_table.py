"""The table of a comparison."""

from __future__ import annotations

import math
import statistics

import pytest
from made_draws import made_comparison, made_draw

from iclprobe.analyses.comparison.draw import Draw
from iclprobe.analyses.comparison.measures import Intervals, measures_of


def table_of(*draws: Draw, width: int = 88) -> str:
    return made_comparison(draws).table(width)


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_a_finetuning_that_changed_nothing_is_said_first() -> None:
    text = table_of(made_draw(finetuning_changes=False), width=200)
    assert text.startswith(
        "finetuning changed no prediction: with dai and learning rate 0.01 every one of 12"
    )
    assert "undefined (0/0)" in line(text, "Rec2FTP")
    several = [made_draw(0), made_draw(1, finetuning_changes=False)]
    first = table_of(*several, width=200).splitlines()[0]
    assert first.startswith("finetuning changed no prediction in the draw of seed 1")
    assert "changed no prediction" not in table_of(made_draw())


def test_icl_that_is_no_better_than_zero_shot_is_said_first() -> None:
    as_good = made_draw(icl_learns=False)
    right = int(as_good.answers["zsl"].correct.sum())
    first = table_of(as_good, width=200).splitlines()[0]
    assert first.startswith(
        f"ICL is not better than zero-shot: {right} against {right} of 12 right over the label set"
    )
    several = table_of(made_draw(0), made_draw(1, icl_learns=False), width=200)
    assert several.splitlines()[0].startswith("ICL is not better than zero-shot in the draw of seed 1")
    assert "is not better" not in table_of(made_draw())


def test_a_training_loss_that_rose_is_said_first() -> None:
    text = table_of(made_draw(final_loss=2.75), width=200)
    assert text.splitlines()[0].startswith("the training loss rose, from 2.500 to 2.750")
    assert made_comparison([made_draw(final_loss=math.nan)])._repr_html_().count("<strong>") == 1
    for steady in (2.5, 2.5 + 1e-6):  # What was not trained differs by rounding alone.
        assert "rose" not in table_of(made_draw(final_loss=steady))
    assert "rose" not in table_of(made_draw(final_loss=9.0, somebody_elses=True))


def test_everything_that_must_be_read_first_is_said() -> None:
    text = table_of(made_draw(icl_learns=False, finetuning_changes=False, final_loss=3.0), width=300)
    assert [line.split(":")[0].split(",")[0] for line in text.splitlines()[:3]] == [
        "finetuning changed no prediction",
        "ICL is not better than zero-shot",
        "the training loss rose",
    ]
    assert text.splitlines()[3] == ""


def test_the_heading_says_what_was_run() -> None:
    text = table_of(made_draw(), width=300)
    assert line(text, "model").split(maxsplit=1)[1] == "pocket, float32, cpu, 3 layers recorded"
    assert line(text, "task").endswith("sst2 (negative, positive)")
    assert line(text, "demonstrations").endswith("8 of 8 shots used, seed 0")
    assert "12 (2 skipped" in line(text, "queries")
    assert "3 training and 1 validation records left out" in line(text, "queries")
    assert "attn_kv (1,234 parameters), sgd, 1 epoch" in line(text, "finetuning")
    assert "0.01, chosen of 3 from 0.001 to 1: held-out label NLL 0.600" in line(text, "learning rate")
    assert "noise floor" not in text
    assert "warning" not in text


def test_what_limits_the_numbers_is_said_plainly() -> None:
    text = table_of(made_draw(used=6, half_precision=True), width=300)
    assert line(text, "warning").startswith("warning: only 6 of 8 demonstrations fit the context window")
    assert "in bfloat16," in line(text, "noise floor")


def test_numbers_stand_with_counts_intervals_and_nulls_beside_them() -> None:
    draw = made_draw(n=20)
    text = table_of(draw)
    measures = {m.name: m for m in measures_of(draw, "same_label", Intervals(50, 0.95))}
    icl = measures["accuracy, ICL"]
    expected = f"{icl.value:.1f} {icl.numerator}/20 [{icl.low:.0f}, {icl.high:.0f}]"
    assert expected in " ".join(line(text, "ICL").split())
    beside = {
        "measured": ("SimAOU", "SimAOU partial"),
        "null gaussian": ("SimAOU, null gaussian",),
        "null permuted pairs": ("SimAOU, null permuted_pairs", "SimAOU partial, null permuted_pairs"),
        "null shared baseline": ("SimAOU, null shared_baseline",),
        "SimAM ": ("SimAM before finetuning", "SimAM after finetuning", "SimAM of the changes (delta)"),
    }
    for row, names in beside.items():
        for name in names:
            assert f"{measures[name].value:.3f} [{measures[name].low:.3f}," in line(text, row)
    last = measures["SimAM of the changes (delta), null shared_baseline"]
    assert text.count(f"{last.value:.3f} [{last.low:.3f}, {last.high:.3f}]") == 1
    assert "for this one draw of demonstrations" in text


def test_columns_are_aligned_and_lines_end_without_spaces() -> None:
    text = table_of(made_draw(n=30))
    lines = text.splitlines()
    start = next(index for index, text in enumerate(lines) if text.startswith("% "))
    column = lines[start].index("accuracy, vocabulary")
    for row in lines[start + 1 : start + 4]:
        assert row[column - 1] == " "
        assert row[column : column + 5].strip()
    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, lines)) <= 104


def test_several_draws_give_mean_and_deviation_and_say_where_a_value_is_missing() -> None:
    draws = [made_draw(0), made_draw(1), made_draw(2, finetuning_changes=False)]
    text = table_of(*draws)
    found = [
        measure.value
        for draw in draws
        for measure in measures_of(draw, "same_label", Intervals(50, 0.95))
        if measure.name == "accuracy, ICL"
    ]
    assert f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}" in " ".join(
        line(text, "ICL").split()
    )
    assert "(2 of 3 draws)" in line(text, "Rec2FTP")
    assert "over 3 draws of demonstrations" in text
    assert line(text, "demonstrations").endswith("8 of 8 shots used, seeds 0, 1, 2")


def test_undefined_layers_are_counted() -> None:
    text = table_of(made_draw(frozen_layers=2), width=200)
    assert "SimAOU is undefined in 2 of 3 layers" in text
    assert "SimAM of the changes (delta) is undefined in 2 of 3 layers" in text
    assert "undefined" not in table_of(made_draw())
    several = table_of(made_draw(frozen_layers=2), made_draw(1), width=200)
    assert "SimAOU is undefined in 0 to 2 of 3 layers" in several


def test_single_values_that_are_undefined_are_counted() -> None:
    draw = made_draw()
    draw.sim_aou.values[:2, 1] = math.nan
    draw.sim_am_delta.counts[0, 1] -= 1
    text = table_of(draw, width=200)
    assert "SimAOU is undefined for 2 of 36 queries × layers, where" in text
    assert "(delta) is undefined for 1 of 72 queries × heads × layers, where" in text
    draw.sim_aou.values[:, 0] = math.nan
    text = table_of(draw, width=200)
    assert "SimAOU is undefined in 1 of 3 layers and for 2 of 24 queries in the others, where" in text


def test_the_notes_say_what_each_null_accounts_for() -> None:
    text = " ".join(table_of(made_draw()).split())
    assert "the direction that all queries share (permuted pairs)" in text
    assert "the zero-shot output which the two updates are taken from (shared baseline)" in text
    assert "SimAOU partial: the same with the zero-shot output and what all queries share taken out" in text


def test_one_query_and_weights_finetuned_elsewhere_still_make_a_table() -> None:
    text = table_of(made_draw(n=1, somebody_elses=True), width=200)
    assert "somewhere/finetuned, finetuned elsewhere" in line(text, "finetuning  ")
    assert "nan" not in text


def test_html_escapes_every_text() -> None:
    study = made_comparison(
        [made_draw(labels=("<i>", "b"))], model="<script>alert(1)</script>", task="a & b", resamples=20
    )
    html = study._repr_html_()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert html.count("<table") == html.count("</table>") == 7


def test_the_frame_has_a_row_for_each_draw_and_measure() -> None:
    draws = [made_draw(0), made_draw(1, finetuning_changes=False)]
    frame = made_comparison(draws).to_pandas()
    assert len(frame) == 2 * 25
    row = frame[(frame.seed == 1) & (frame.measure == "Rec2FTP")].iloc[0]
    assert (math.isnan(row.value), row.numerator, row.denominator) == (True, 0, 0)
    cosine = frame[(frame.seed == 0) & (frame.measure == "SimAOU")].iloc[0]
    assert cosine.value == pytest.approx(draws[0].sim_aou.mean)
    assert cosine.unit == "cosine"
    assert frame.numerator.dtype == "Int64"


def test_an_alarm_of_several_comparisons_is_said_once_with_where_it_holds() -> None:
    plain, blind = made_draw(0), made_draw(1, icl_learns=False)
    seed_0, seed_1 = made_draw(0, final_loss=4.0), made_draw(1)
    study = made_comparison({("a", 2): [plain, blind], ("a", 4): [seed_0, seed_1]})
    lines = study.table(400).splitlines()
    assert lines[0].startswith("ICL is not better than zero-shot") and lines[0].endswith(
        "in: a, 2 shots (seed 1)"
    )
    assert lines[1].startswith("the training loss rose") and lines[1].endswith("in: a, 4 shots (seed 0)")


def test_several_comparisons_have_a_row_each_in_every_block() -> None:
    study = made_comparison({("a", 1): [made_draw(0)], ("b", 1): [made_draw(1)]})
    blocks = study.sheet().blocks
    assert {name for block in blocks for name, _ in block.rows} == {"a, 1 shot", "b, 1 shot"}
    assert [block.corner for block in blocks][:2] == ["finetuning", "accuracy, label set (%)"]
    assert "a" in dict(study.sheet().facts) and "no spread" in study.table()
