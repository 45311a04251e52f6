"""Many experiments in one directory: what is complete stays, what fails is told, and an index says which is which."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint

from iclprobe.analyses.papers.catalogue import find_experiments
from iclprobe.analyses.papers.library import StudyLibrary
from iclprobe.analyses.papers.reproduction import requests_of
from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.study.run_directory import is_complete
from iclprobe.sweeps.experiments import reproduce_all

SPARSITY = (*find_experiments("shen2024", "fig2"), *find_experiments("shen2024", "fig10"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return {"model": str(tiny_checkpoint.write_checkpoint(folder)), "revision": None}


def test_complete_folders_are_kept_unless_overwritten(tmp_path: Path, model: dict[str, Any]) -> None:
    def run(**options):
        return reproduce_all(SPARSITY, tmp_path / "all", overrides=model, workers=1, **options)

    first = run(with_claims=False)
    assert [row.status for row in first.rows] == ["written", "written"]
    folder = tmp_path / "all" / "shen2024-fig2"
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    (tmp_path / "all" / "shen2024-fig10" / "manifest.json").unlink()
    (refused,) = run(with_claims=False).failed
    assert refused.name == "fig10" and "no finished run directory" in refused.note
    shutil.rmtree(tmp_path / "all" / "shen2024-fig10")
    second = run(with_claims=True)
    assert [row.status for row in second.rows] == ["kept", "written", "written"]
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    assert is_complete(tmp_path / "all" / "claims")
    assert [row.status for row in run().rows] == ["kept", "kept", "kept"]
    assert [row.status for row in run(overwrite=True, with_claims=False).rows] == ["written", "written"]
    assert (folder / "manifest.json").stat().st_mtime_ns > stamp
    assert "shen2024  fig2" in (tmp_path / "all" / "index.txt").read_text()
    assert len((tmp_path / "all" / "index.csv").read_text().splitlines()) == 3


def test_folders_of_other_settings_are_not_taken_for_these(tmp_path: Path, model: dict[str, Any]) -> None:
    reproduce_all(SPARSITY[:1], tmp_path / "all", overrides=model, workers=1, with_claims=False)
    for other in ({}, {**model, "thresholds": (0.1,)}):
        with pytest.raises(UserError, match="other settings"):
            reproduce_all(SPARSITY[:1], tmp_path / "all", overrides=other, workers=1, with_claims=False)


def test_an_experiment_that_fails_is_told_and_the_others_go_on(tmp_path: Path, model: dict[str, Any]) -> None:
    experiments = (*find_experiments("barnatan", "fig3"), *SPARSITY[:1])
    index = reproduce_all(
        experiments, tmp_path / "all", overrides={"model": "no/such/model"}, workers=1, with_claims=False
    )
    assert [row.status for row in index.rows] == ["failed", "failed"]
    assert "no/such/model" in index.failed[0].note and "2 failed" in index.table()
    good = reproduce_all(SPARSITY, tmp_path / "two", overrides=model, workers=1, with_claims=False)
    assert not good.failed


@pytest.mark.slow
def test_processes_give_the_same_numbers(tmp_path: Path) -> None:
    (table,) = find_experiments("barnatan", "table3")
    (orders,) = find_experiments("shen2024", "fig7")
    (pairs,) = find_experiments("shen2024", "gd-vs-gd")
    (gradients,) = find_experiments("barnatan", "fig3")
    (drift,) = find_experiments("shen2024", "fig3")
    few: dict[str, dict[str, Any]] = {
        table.key: {"shots": 4, "limit": 4, "learning_rate": 0.01},
        orders.key: {"shots": 3, "limit": 4, "orders": 2, "epochs": 1, "evaluation_epochs": 1},
        pairs.key: {"shots": (2,), "limit": 4, "epochs": 2, "evaluation_epochs": 1},
        gradients.key: {"shots": 4, "learning_rate": 0.01},
        drift.key: {"shots": 2, "limit": 4, "icl": ("pocket-tone",), "seeds": (0,)},
    }
    requests = [
        request
        for experiment in (table, orders, pairs, gradients, drift)
        for _, request in requests_of(experiment, "pocket", few[experiment.key]).values()
    ]
    library = StudyLibrary()
    for request in requests:
        library.get(request)
    assert set(library.studies) == {request.key for request in requests}
    for workers in (1, 2):
        reproduce_all(SPARSITY, tmp_path / str(workers), workers=workers, with_claims=False)
    one, two = (
        (tmp_path / str(workers) / "shen2024-fig10" / "numbers.csv").read_text() for workers in (1, 2)
    )
    assert one == two


def test_the_command_lists_runs_and_refuses(
    tmp_path: Path, model: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 30 and listed[-1].startswith("both      claims")
    arguments = ["reproduce", "shen2024", "fig2", "--set", f"model={model['model']}"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "published" in printed.out and "stands for" in printed.err
    assert is_complete(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["shen2024", "fig99"], "fig2, fig3"),
        (["dai2023", "fig1"], "shen2024, barnatan"),
        (["shen2024", "fig2", "--scale", "lab"], "'pocket' or 'paper'"),
        (["shen2024", "fig2", "--set", "limit"], "KEY=VALUE"),
        (["shen2024", "fig2", "--set", "limit=3"], "limit"),
        (["shen2024", "--all"], "--all"),
    ],
)
def test_mistakes_end_in_one_sentence_with_exit_code_2(
    tmp_path: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("iclprobe: ") and named in printed[-1]
    assert not (tmp_path / "run").exists()
