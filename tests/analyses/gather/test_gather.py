"""The cells of a sweep put together: along its axes, over draws, and with what is not there counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import tiny_analysis
from scipy import stats
from sweep_files import SMALL, sentence, tiny_study

import iclprobe
from iclprobe.analyses.gather.registration import gather
from iclprobe.analyses.gather.tables import gathered_tables
from iclprobe.cli import main
from iclprobe.study.sweep_folder import read_sweep
from iclprobe.sweeps.sweep import sweep


def number(folder: Path, file: int, seed: int) -> float:
    return tiny_analysis._number((folder / f"numbers-{file}.txt").read_bytes(), seed)


def the(frame: Any, **where: Any) -> Any:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    sweep(tiny_study(tmp_path, seeds=7), out=tmp_path / "sweep")
    return tmp_path / "sweep"


def test_means_and_differences_are_those_by_hand(made: Path, tmp_path: Path) -> None:
    study = gather(made, level=0.9)
    names = [str(tmp_path / f"numbers-{file}.txt") for file in (0, 1)]
    values = np.array([[number(tmp_path, file, seed) for seed in range(7)] for file in (0, 1)])
    for name, draws in zip(names, values, strict=True):
        row = the(study.tables["summary"], group=f"file {name}", measure="the number")
        low, high = stats.t.interval(0.9, 6, draws.mean(), stats.sem(draws))
        wanted = (7, draws.mean(), draws.std(ddof=1), low, high, 0.5)
        assert tuple(row[["draws", "mean", "std", "low", "high", "null"]]) == pytest.approx(wanted)
    row = the(study.tables["paired"], axis="file")
    differences = values[1] - values[0]
    low, high = stats.t.interval(0.9, 6, differences.mean(), stats.sem(differences))
    assert (row.one, row.other, row["at"], row.draws) == (*names, "", 7)
    assert (row.difference, row["std"], row.low, row.high) == pytest.approx(
        (differences.mean(), differences.std(ddof=1), low, high)
    )
    assert row.p == pytest.approx(
        stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=9999).pvalue
    )
    assert len(study.tables["measures"]) == 14 and set(study.tables["cells"]["state"]) == {"done"}


def test_every_two_points_of_every_axis_are_paired_all_else_equal(tmp_path: Path) -> None:
    file = tmp_path / "numbers-0.txt"
    file.write_text("the numbers")
    axes = {"scale": [1, 2, 5], "rate": ["auto", 0.5, None], "seeds": [[seed] for seed in range(3)]}
    sweep(analysis="tiny", axes=axes, fixed={"file": str(file)}, out=tmp_path / "sweep")
    paired = gather(tmp_path / "sweep").tables["paired"]
    assert len(paired) == 2 * 3 * 3 and paired["p"].isna().all() and set(paired["draws"]) == {3}
    mean = np.mean([number(tmp_path, 0, seed) for seed in range(3)])
    row = the(paired, axis="scale", one="2", other="5", at="rate auto")
    assert row.difference == pytest.approx(3 * mean)
    assert the(paired, axis="rate", one="auto", other="0.5", at="scale 5").difference == 0


def test_draws_that_only_one_of_two_has_are_in_no_difference(made: Path, tmp_path: Path) -> None:
    import shutil

    folder = read_sweep(made)
    gone = [cell for cell in folder.cells if cell.config["seeds"] == [0] or cell.config["seeds"] == [3]]
    shutil.rmtree(folder.run_directory(gone[0].id))
    shutil.rmtree(folder.run_directory(gone[-1].id))
    study = gather(made)
    row = the(study.tables["paired"], axis="file")
    assert row.draws == 5 and math.isnan(row.p)
    assert sorted(study.tables["summary"]["draws"]) == [6, 6]
    (finding,) = [each for each in study.findings if each.name == "missing cells"]
    assert finding.value == 2 and finding.kind == "warning" and "2 of 14 cells" in finding.sentence


def test_another_axis_may_be_the_draws(made: Path, tmp_path: Path) -> None:
    study = gather(made, draws="file")
    values = [number(tmp_path, file, 4) for file in (0, 1)]
    row = the(study.tables["summary"], group="seeds 4")
    assert (row.draws, row["mean"]) == (2, pytest.approx(np.mean(values)))
    none = gather(made, draws="nothing")
    assert set(none.tables["summary"]["draws"]) == {1} and not len(none.tables["paired"])
    assert [each.name for each in none.findings if each.kind == "warning"] == ["one draw"]


def test_failed_and_missing_cells_are_counted_and_in_no_mean(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, seeds=3, files=3)
    (tmp_path / "numbers-1.txt").write_text("damaged")
    out = tmp_path / "sweep"
    sweep(study, out=out, shard=(1, 9))
    sweep(study, out=out, shard=(4, 9))
    sweep(study, out=out, shard=(5, 9))
    gathered = gather(out)
    assert gathered.tables["cells"]["state"].value_counts().to_dict() == {
        "done": 1,
        "failed": 2,
        "missing": 6,
    }
    assert gathered.tables["cells"].query("state == 'failed'")["error"].str.contains("is damaged").all()
    assert gathered.findings[0].kind == "alarm" and gathered.findings[0].value == 2
    assert (
        "2 of 9 cells failed" in gathered.findings[0].sentence
        and "is damaged" in gathered.findings[0].sentence
    )
    assert [each.value for each in gathered.findings if each.name == "missing cells"] == [6]
    facts = dict(gathered.tables["facts"].itertuples(index=False))
    assert facts["cells"] == "9: 1 done, 2 failed, 6 missing" and facts["analysis"] == "tiny"


def test_tables_of_all_cells_have_the_axes_as_columns(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("the numbers")
    axes = {
        "seed": {"first": {"seeds": [1, 2]}, "second": {"seeds": [3]}},
        "value": {"one": {"scale": 1}, "two": {"scale": 2}},
        "rate": ["auto", 0.5, None],
    }
    sweep(analysis="tiny", axes=axes, fixed={"file": str(tmp_path / "numbers.txt")}, out=tmp_path / "sweep")
    assert main(["gather", str(tmp_path / "sweep"), "-q"]) == 0
    kinds = tmp_path / "sweep" / "gathered" / "kinds"
    frame = pandas.read_parquet(kinds / "tables" / "numbers.parquet")
    assert list(frame.columns) == ["cell", "axis_seed", "axis_value", "rate", "seed", "value"]
    assert len(frame) == 3 * 2 * 3 and set(frame["rate"].dropna()) == {"auto", "0.5"}
    chosen = frame[
        (frame["axis_seed"] == "first") & (frame["axis_value"] == "two") & (frame["rate"] == "0.5")
    ]
    text = (tmp_path / "numbers.txt").read_bytes()
    assert chosen["value"].tolist() == pytest.approx(
        [2 * tiny_analysis._number(text, seed) for seed in (1, 2)]
    )
    assert len(pandas.read_csv(kinds / "numbers.csv")) == len(frame)
    findings = pandas.read_parquet(kinds / "tables" / "findings.parquet")
    assert {"cell", "seed", "axis_value", "rate"} <= set(findings.columns) and len(findings) == 12
    tables = gathered_tables(tmp_path / "sweep")
    assert list(tables) == ["numbers", "findings"]
    pandas.testing.assert_frame_equal(
        tables["numbers"].drop(columns="rate"), frame.drop(columns="rate"), check_dtype=False
    )


@pytest.mark.parametrize("points", [["auto", 0.5], [None, 0.5], [0.5, 1], [1, 2], [None, "auto"], [None]])
def test_an_axis_of_any_values_is_a_column(points: list[Any], tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("the numbers")
    sweep(
        analysis="tiny",
        axes={"rate": points},
        fixed={"file": str(tmp_path / "numbers.txt")},
        out=tmp_path / "sweep",
    )
    gather(tmp_path / "sweep", out=tmp_path / "gathered")
    frame = pandas.read_parquet(tmp_path / "gathered" / "kinds" / "tables" / "numbers.parquet")
    assert len(frame) == len(points)
    assert [None if pandas.isna(value) else str(value) for value in frame["rate"]] == [
        None if point is None else str(float(point)) if 0.5 in points and point == 1 else str(point)
        for point in points
    ] or frame["rate"].dropna().astype(float).tolist() == [float(p) for p in points if p is not None]


def test_cells_of_one_result_stand_at_each_of_their_points(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("the numbers")
    axes = {"device": ["cpu", "meta"], "seeds": [[0], [1]]}
    result = sweep(
        analysis="tiny", axes=axes, fixed={"file": str(tmp_path / "numbers.txt")}, out=tmp_path / "sweep"
    )
    assert result.table() == "2 cells of tiny: 2 computed, 0 kept"
    study = gather(tmp_path / "sweep")
    row = the(study.tables["paired"], axis="device")
    assert (row.draws, row.difference) == (2, 0)
    assert set(study.tables["summary"]["group"]) == {"device cpu", "device meta"}


def test_gathering_again_replaces_what_was_gathered(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["gather", str(made)]) == 0
    assert f"wrote {made / 'gathered'}" in capsys.readouterr().err
    again = iclprobe.load_study(made / "gathered")
    assert len(again.tables["measures"]) == 14
    assert (made / "gathered" / "page.html").is_file()
    assert sweep(tiny_study(tmp_path, seeds=7), out=made).kept == 14
    assert main(["gather", str(made), "--json", "-q"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tables"]["measures"]) == 14


def test_what_cannot_be_gathered_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gather", str(tmp_path)]) == 2
    assert "is no sweep" in sentence(capsys.readouterr().err)
    study, out = tiny_study(tmp_path), tmp_path / "sweep"
    (tmp_path / "numbers-0.txt").write_text("damaged")
    sweep(study, out=out, shard=(1, 12))
    assert main(["gather", str(out)]) == 2
    assert "no cell of" in sentence(capsys.readouterr().err)
    (tmp_path / "numbers-0.txt").write_text("numbers")
    result = sweep(study, out=out, shard=(1, 12))
    cell = next(cell for cell in result.folder.cells if result.folder.is_done(cell.id))
    (result.folder.run_directory(cell.id) / "tables" / "findings.parquet").write_bytes(b"damaged")
    assert main(["gather", str(out)]) == 2
    assert "findings.parquet' cannot be read" in sentence(capsys.readouterr().err)


@pytest.mark.slow
def test_a_comparison_is_gathered_with_one_number_for_each_measure_of_each_cell(tmp_path: Path) -> None:
    axes = {"model": ["pocket-mini", "pocket-small"], "seeds": [[0], [1]]}
    fixed = {**SMALL, "shots": [2, 4], "recipes": ["dai", "barnatan_lcft"]}
    result = sweep(analysis="compare", axes=axes, fixed=fixed, out=tmp_path / "sweep")
    study = gather(tmp_path / "sweep", out=tmp_path / "gathered")
    measures = study.tables["measures"]
    assert not measures.duplicated(["cell", "measure"]).any()
    assert measures["measure"].str.contains("shots 2").any() and measures["measure"].str.contains("dai").any()
    cell = result.folder.cells[0]
    loaded = iclprobe.load_study(result.folder.run_directory(cell.id))
    found = sorted(
        each.value for each in loaded.findings if each.kind == "result" and math.isfinite(each.value)
    )
    assert sorted(measures[measures["cell"] == cell.id]["value"]) == found
    kinds = {path.stem for path in (tmp_path / "gathered" / "kinds" / "tables").iterdir()}
    assert kinds == {*(table for table in loaded.tables if table != "facts"), "findings"}


def test_cells_that_were_computed_differently_are_told(made: Path) -> None:
    def told() -> list[str]:
        return [finding.sentence for finding in gather(made).findings if finding.name == "origin"]

    assert told() == []
    path = next(made.glob("cells/*/manifest.json"))
    manifest = json.loads(path.read_text())
    manifest["provenance"]["versions"]["torch"] = "2.6.0"
    manifest["provenance"]["device"] = "cuda:3 (NVIDIA H100)"
    path.write_text(json.dumps(manifest))
    devices, versions = told()
    assert devices == "cells were computed with different devices (NVIDIA H100, cpu)"
    assert (
        versions.startswith("cells were computed with different versions of torch (2.")
        and "2.6.0" in versions
    )
