"""A cell that is computed twice, that fails, that changes or that wants too much memory."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_analysis
from sweep_files import assert_same, computed_in, contents, tiny_study

import iclprobe
from iclprobe.analyses.shared import Shared
from iclprobe.cli import main
from iclprobe.study.sweep_folder import read_sweep
from iclprobe.sweeps.cell_run import run_cell
from iclprobe.sweeps.planning import plan_sweep
from iclprobe.sweeps.sources import Sources
from iclprobe.sweeps.sweep import read_study, sweep


def test_of_a_cell_that_is_computed_twice_one_result_is_kept(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = tmp_path / "tiny.yaml", tmp_path / "twice"
    measure: Callable[..., Any] = tiny_analysis.measure
    beaten: list[str] = []

    def overtaken(config: Any, context: Any) -> Any:
        # Its lease lapsed, and another process takes the cell over and is done first.
        if not beaten:
            beaten.append(config.file)
            monkeypatch.setattr(tiny_analysis, "measure", measure)
            first = next(iter((out / "leases").iterdir()))
            # As another machine knows it.
            first.write_text(json.dumps({"process": 1, "machine": "elsewhere", "boot": "another"}))
            now = [0.0]
            with monkeypatch.context() as patched:
                leases = read_sweep(out).leases(1.0)
                patched.setattr("iclprobe.leases.time.monotonic", lambda: now[0])
                leases.held()
                now[0] += 2.0
                cell = next(
                    each
                    for each in read_sweep(out).cells
                    if each.config["seeds"] == [*config.seeds] and each.config["file"] == config.file
                )
                run = run_cell(read_sweep(out), cell, leases, Shared(), Sources())
            assert run.outcome == "computed"
        return measure(config, context)

    registered = tiny_analysis.TINY
    from dataclasses import replace

    from iclprobe.study import analysis as registry

    monkeypatch.setitem(registry._REGISTERED, "tiny", replace(registered, measure=overtaken))
    said: list[str] = []
    result = sweep(study, out=out, say=said.append)
    assert beaten and (result.computed, result.failures, result.missing) == (12, (), 0)
    assert len(computed_in("\n".join(said))) == 11
    assert_same(out, whole)


def test_a_cell_that_fails_stops_no_other_and_is_tried_again_when_asked(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tiny_study(tmp_path, seeds=2, files=3), tmp_path / "failing"
    good = (tmp_path / "numbers-1.txt").read_text()
    (tmp_path / "numbers-1.txt").write_text("damaged")
    (tmp_path / "numbers-2.txt").write_text("broken")
    argv = ["sweep", str(study), "--out", str(out)]
    assert main(argv) == 2
    said = capsys.readouterr()
    assert "6 cells of tiny: 2 computed, 0 kept, 4 failed" in said.out
    assert said.out.count("is damaged: mend it") == 2
    assert said.out.count("ZeroDivisionError: nothing to divide by") == 2
    assert "4 of 6 cells failed: mend what they say, and run again with --retry-failed" in said.err
    folder = read_sweep(out)
    failures = [folder.failure(cell.id) for cell in folder.cells if folder.has_failed(cell.id)]
    for failure in failures:
        assert failure is not None and failure.machine and failure.date_utc
        assert ("Traceback" in failure.traceback) == ("ZeroDivision" in failure.sentence)
        assert failure.axes == next(cell.axes for cell in folder.cells if cell.id == failure.id)
    before = contents(out)
    assert main(argv) == 2
    assert "0 computed, 2 kept, 4 failed" in capsys.readouterr().out
    assert contents(out) == before
    assert main([*argv, "--retry-failed"]) == 2
    assert "0 computed, 2 kept, 4 failed" in capsys.readouterr().out
    # Mended weights are other weights, and so are their cells.
    (tmp_path / "numbers-1.txt").write_text(good)
    assert main(argv) == 2
    assert "2 computed, 2 kept, 2 failed" in capsys.readouterr().out


def test_a_cause_that_is_mended_gives_the_result_when_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    from dataclasses import replace

    from iclprobe.study import analysis as registry

    broken = True

    def sometimes(config: Any, context: Any) -> Any:
        if broken and config.seeds in ((1,), (4,)):
            raise RuntimeError("the network is away")
        return tiny_analysis.measure(config, context)

    monkeypatch.setitem(registry._REGISTERED, "tiny", replace(tiny_analysis.TINY, measure=sometimes))
    study, out = tmp_path / "tiny.yaml", tmp_path / "mended"
    assert len(sweep(study, out=out).failures) == 4
    broken = False
    assert len(sweep(study, out=out).failures) == 4
    first = sweep(study, out=out, retry_failed=True, shard=(1, 2))
    assert (first.computed, first.failures) == (2, ())
    assert sorted(read_sweep(out).states().values()).count("failed") == 2, (
        "another part's failures are its own"
    )
    last = sweep(study, out=out, retry_failed=True)
    assert (last.computed, last.failures) == (2, ())
    assert_same(out, whole)


def test_a_file_that_changes_after_planning_is_refused_for_its_cells(tmp_path: Path) -> None:
    study, out = tiny_study(tmp_path, seeds=1, files=3), tmp_path / "changing"
    planned = plan_sweep(read_study(study), out)
    changed, removed, _ = (Path(cell.config["file"]) for cell in planned.cells)
    times = changed.stat()
    changed.write_text(changed.read_text()[::-1])
    # A copy keeps the size and the time of the last change.
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    removed.unlink()
    from iclprobe.study.sweep_folder import write_sweep

    write_sweep(planned)
    sources = Sources()
    runs = [run_cell(planned, cell, planned.leases(), Shared(), sources) for cell in planned.cells]
    assert [run.outcome for run in runs] == ["failed", "failed", "computed"]
    for run in runs[:2]:
        assert "is not what it was when the sweep was planned: run the sweep again" in run.sentence


def test_hashes_that_were_kept_do_not_hide_a_change(tmp_path: Path) -> None:
    study, out = tiny_study(tmp_path, seeds=1, files=1), tmp_path / "out"
    assert sweep(study, out=out).computed == 1
    file = tmp_path / "numbers-0.txt"
    times = file.stat()
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sweep(study, out=out).computed == 1
    (out / "hashes.json").write_text("damaged")
    assert sweep(study, out=out).kept == 1


def hungry(tmp_path: Path, axes: dict[str, Any]) -> tuple[Any, Any]:
    result = sweep(
        analysis="hungry", axes=axes, fixed={"model": "pocket-mini", "limit": 4}, out=tmp_path / "hungry"
    )
    folder = result.folder
    studies = [
        iclprobe.load_study(folder.run_directory(cell.id)) if folder.is_done(cell.id) else None
        for cell in folder.cells
    ]
    return result, studies


@pytest.mark.parametrize(
    ("size", "fits", "divisor"), [("auto", 2, 8), (16, 2, 8), (7, 3, 2), (3, 3, 1), (5, 2, 2)]
)
def test_batches_are_halved_until_memory_is_enough_and_the_study_says_so(
    size: Any, fits: int, divisor: int, tmp_path: Path
) -> None:
    result, (study,) = hungry(tmp_path, {"batch_size": [size]})
    assert result.failures == () and study.tables["numbers"]["value"].tolist() == [fits]
    told = [finding for finding in study.findings if finding.name == "batch size"]
    assert [(finding.kind, finding.value) for finding in told] == (
        [("warning", divisor)] if divisor > 1 else []
    )
    assert all(f"1/{divisor} of their size" in finding.sentence for finding in told)


def test_a_batch_that_cannot_be_halved_fails_with_a_sentence_and_stops_no_other(tmp_path: Path) -> None:
    result, studies = hungry(tmp_path, {"always": [True, False], "batch_size": ["auto"]})
    assert [study is None for study in studies] == [True, False]
    (failure,) = result.failures
    assert "not enough memory" in failure.sentence and not failure.traceback


def test_a_batch_that_is_trained_on_is_never_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iclprobe.analyses.construction import registration

    sizes: list[int] = []

    def lacking(config: Any, context: Any) -> Any:
        sizes.append(config.batch_size)
        raise MemoryError

    from dataclasses import replace

    from iclprobe.study import analysis as registry

    monkeypatch.setitem(
        registry._REGISTERED, "construction", replace(registration.CONSTRUCTION, measure=lacking)
    )
    result = sweep(
        analysis="construction", axes={"batch_size": [8, 16]}, fixed={"model": None}, out=tmp_path / "out"
    )
    assert sizes == [8, 16] and len({cell.id for cell in result.folder.cells}) == 2
    assert [failure.axes for failure in result.failures] == [{"batch_size": 8}, {"batch_size": 16}]


def test_a_warning_is_no_failure(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sweep(tiny_study(tmp_path), out=tmp_path / "out").failures == ()
