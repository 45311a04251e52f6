"""One experiment of each kind from its declaration to a complete run directory, on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas
import pytest
import tiny_checkpoint

from iclprobe.analyses.papers.library import Request, StudyLibrary
from iclprobe.analyses.papers.measured import over_repetitions
from iclprobe.analyses.papers.overrides import read_overrides
from iclprobe.analyses.papers.registration import CLAIMS, reproduce
from iclprobe.analyses.papers.study_rows import gradient_norms
from iclprobe.analyses.papers.views import value_of
from iclprobe.analyses.runner import run_analysis
from iclprobe.analyses.weights.checkpoints import checkpoints_at
from iclprobe.errors import UserError
from iclprobe.study.loading import load_study
from iclprobe.study.run_directory import is_complete
from iclprobe.study.study import Study

FILES = {
    *("table.txt", "config.yaml", "manifest.json", "tables", "studies"),
    *("numbers.csv", "parts.csv", "footnotes.csv", "facts.csv", "findings.csv"),
    "figure.png",
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = tiny_checkpoint.write_checkpoint(folder / "model", layers=4)
    return {
        "model": str(checkpoint),
        "revision": None,
        "task": "tone",
        "data": str(tiny_checkpoint.write_records(folder / "data")),
        "template": tiny_checkpoint.TEMPLATE,
        "label_words": ("bad", "good"),
        "device": "cpu",
        "limit": 6,
    }


def complete(folder: Path) -> bool:
    """Whether a run directory is whole, its studies too, and is the study again."""
    whole = is_complete(folder) and {file.name for file in folder.iterdir()} >= FILES
    studies = [is_complete(place) for place in (folder / "studies").iterdir()]
    text = (folder / "table.txt").read_text(encoding="utf-8").rstrip("\n")
    return whole and bool(studies) and all(studies) and str(load_study(folder)) == text


def study_claims(reproductions: dict[str, Any], scale: str) -> dict[str, Any]:
    """Judge all claims, and return the row of each effect that one of them has."""
    study: Study = run_analysis(CLAIMS, reproductions=reproductions, scale=scale)
    rows: Any = study.tables["claims"].itertuples(index=False)
    return {row.effect: row for row in rows}


def test_sparsity_shows_published_numbers_beside_its_own(tmp_path: Path, subject: dict[str, Any]) -> None:
    result = reproduce("shen2024", "fig2", overrides={"model": subject["model"]}, out=tmp_path / "run")
    assert complete(tmp_path / "run")
    # Width 32: N_x = N_y = 16, so 1 - 16 / 1024 and 1 - (256 + 16) / 1024.
    assert value_of(result.measured, "W_K, LLaMA-7B", "constructed") == pytest.approx(98.4375)
    assert value_of(result.measured, "W_V, LLaMA-7B", "constructed") == pytest.approx(73.4375)
    table = result.table().splitlines()
    assert "75 *" in table[next(i for i, line in enumerate(table) if line.startswith("W_V")) + 1]
    frame = result.to_pandas().set_index(["row", "column"])
    assert frame.loc[("W_V, LLaMA-7B", "constructed"), "published"] == 75
    assert "[R14]" in result.table() and "huggyllama/llama-7b → pocket" in result.table()


def test_drift_runs_in_context_at_every_checkpoint(tmp_path: Path, subject: dict[str, Any]) -> None:
    other = tiny_checkpoint.write_checkpoint(tmp_path / "other", seed=1, layers=4)
    overrides = {
        "checkpoints": checkpoints_at([subject["model"], str(other)]),
        "icl": ("pocket-tone",),
        "limit": 4,
        "shots": 2,
    }
    result = reproduce("shen2024", "fig3", overrides=overrides, out=tmp_path / "run")
    assert complete(tmp_path / "run")
    assert value_of(result.measured, "step other", "gap to first") > 0
    assert 0 <= value_of(result.measured, "step other", "ICL, pocket-tone") <= 1


COMPARED = {"shots": 4, "learning_rate": 0.05, "null_draws": 2, "resamples": 50}


def test_comparisons_become_a_table_with_averages_and_judge_claims(
    tmp_path: Path, subject: dict[str, Any]
) -> None:
    library = StudyLibrary()
    results = {
        f"barnatan-{name}": reproduce(
            "barnatan", name, overrides={**subject, **COMPARED}, out=tmp_path / name, library=library
        )
        for name in ("fig1", "table2")
    }
    assert complete(tmp_path / "fig1") and complete(tmp_path / "table2")
    table = results["barnatan-table2"]
    columns = ("SST2", "SST5", "MR", "Subj", "AGNews", "CB")
    values = [value_of(table.measured, "SimAOU (layer-causal FT)", column) for column in columns]
    average = value_of(table.measured, "SimAOU (layer-causal FT)", "Average")
    assert average == pytest.approx(sum(values) / 6)
    study = table.studies["MR"]["barnatan_lcft"]
    assert value_of(table.measured, "SimAOU (layer-causal FT)", "MR") == pytest.approx(study["SimAOU"])
    fig1 = results["barnatan-fig1"]
    answers = fig1.studies["MR"]["dai"].tables["answers"]
    said = answers.pivot(index="query", columns="setting", values="prediction")
    changed = (said["icl"] != said["zsl"]) | (said["ft"] != said["zsl"])
    parts = [entry.value for entry in fig1.measured if entry.column == "MR"]
    assert sum(parts) == int(changed.sum())
    # Six parts with five different draws of one task: studies that are asked alike are run once.
    assert len(library.studies) == 4
    by_effect = study_claims(results, "pocket")
    measured = by_effect["layer_causal_sim_am"]
    assert measured.low <= measured.value <= measured.high
    drop = value_of(table.measured, "SimAM (layer-causal FT)", "Average") - value_of(
        table.measured, "SimAM (FT)", "Average"
    )
    assert measured.value == pytest.approx(drop, abs=1e-6)
    not_run = by_effect["icl_sensitivity"]
    assert math.isnan(not_run.value) and not_run.verdict == "undecided" and not_run.basis == "not run"


def test_gradients_are_by_layer_and_recipe(tmp_path: Path, subject: dict[str, Any]) -> None:
    overrides = {**subject, "shots": 4, "learning_rate": 0.05}
    result = reproduce("barnatan", "fig3", overrides=overrides, out=tmp_path / "run")
    assert complete(tmp_path / "run")
    (study,) = result.studies.values()
    norms = {recipe: gradient_norms(study, recipe) for recipe in ("dai", "barnatan_lcft")}
    expected = float(norms["dai"][:, 2].mean())
    assert value_of(result.measured, "layer 2", "standard FT") == pytest.approx(expected)
    judged = study_claims({"barnatan-fig3": result}, "pocket")
    lower = {recipe: values[:, :2].mean(1).log() for recipe, values in norms.items()}
    assert judged["lower_gradients_of_layer_causal"].value == pytest.approx(
        float((lower["barnatan_lcft"] - lower["dai"]).mean())
    )


ARMS = {"epochs": 2, "evaluation_epochs": 1, "seeds": (0, 1), "learning_rates": (0.05,)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), [("fig4", {}), ("fig6", {}), ("fig7", {}), ("fig8", {})])
def test_order_experiments(tmp_path: Path, subject: dict[str, Any], name: str, more: dict[str, Any]) -> None:
    overrides = {**subject, **ARMS, "shots": 3, "orders": 2, **more}
    result = reproduce("shen2024", name, overrides=overrides, out=tmp_path / "run")
    assert complete(tmp_path / "run")
    study = next(iter(result.studies.values()))
    rows = study.tables["rows"]
    icl = rows.loc[rows["arm"] == "ICL", "sensitivity"]
    row = "Qwen-7B, ICL" if name == "fig8" else "ICL"
    assert value_of(result.measured, row, "Sen") == pytest.approx(sum(icl) / 2)
    if name == "fig4":
        judged = study_claims({"shen2024-fig4": result}, "pocket")
        assert judged["gradient_descent_over_icl"].value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig5", "fig11", "fig15", "fig19", "fig23", "table1", "gd-vs-gd"])
def test_output_experiments(tmp_path: Path, subject: dict[str, Any], name: str) -> None:
    shots = {"fig5": (2, 4), "table1": (2, 8), "fig23": (4,), "gd-vs-gd": (4,)}.get(name, (1, 2))
    overrides = {**subject, **ARMS, "shots": shots}
    result = reproduce("shen2024", name, overrides=overrides, out=tmp_path / "run")
    assert complete(tmp_path / "run")
    rows = {entry.row for entry in result.measured}
    if name == "fig15":
        assert any("deep layer" in row for row in rows) and not any("GD, rate" in row for row in rows)
    if name == "table1":
        assert {entry.column for entry in result.measured} == {"2 demonstrations", "8 demonstrations"}
    if name == "gd-vs-gd":
        (study,) = result.studies.values()
        late = study.pairwise("GD", "token_overlap", seeds=(0,), epochs=(2,)).values
        assert len(late) == 1
    for entry in result.measured:
        assert math.isnan(entry.value) or -1 <= entry.value <= 1 + 1e-9


def test_a_study_is_run_once_however_often_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, subject) -> None:
    import iclprobe.analyses.papers.library as module

    runs: list[str] = []
    original = module.run_study
    monkeypatch.setattr(
        module, "run_study", lambda kind, settings, out: runs.append(kind) or original(kind, settings, out)
    )
    library = StudyLibrary()
    request = Request("sparsity", {"model": subject["model"], "stable_rank": False})
    same = Request("sparsity", {"stable_rank": False, "model": subject["model"], "device": "cpu"})
    assert library.get(request) is library.get(same)
    assert library.has(same.key)
    assert runs == ["sparsity"]


def test_overrides_are_read_as_values_and_reach_the_configuration() -> None:
    read = read_overrides(
        ["limit=32", "plan.positions=first_label_token", "learning_rate=1e-3", "seeds=[0, 1]"]
    )
    assert read == {
        "limit": 32,
        "plan": {"positions": "first_label_token"},
        "learning_rate": 1e-3,
        "seeds": [0, 1],
    }
    for text in ("limit", "=3", "limit=[1"):
        with pytest.raises(UserError, match="--set"):
            read_overrides([text])
    with pytest.raises(UserError, match="unknown key 'shot'"):
        reproduce("barnatan", "table1", overrides={"shot": 3})


def test_a_number_is_the_mean_of_its_repetitions_without_undefined_ones() -> None:
    entry = over_repetitions("row", "column", [1.0, math.nan, 3.0])
    assert (entry.value, entry.draws) == (2.0, 2)
    assert entry.std == pytest.approx(2**0.5)
    assert math.isnan(over_repetitions("row", "column", []).value)


def test_a_reproduction_says_what_stands_for_what(subject: dict[str, Any], tmp_path: Path) -> None:
    reproduce("shen2024", "fig2", overrides={"model": subject["model"]}, out=tmp_path / "run")
    study = load_study(tmp_path / "run")
    facts = dict(study.tables["facts"].itertuples(index=False))
    assert facts["what stands for what"] == "huggyllama/llama-7b → pocket" and facts["scale"] == "pocket"
    assert math.isnan(study.tables["numbers"]["published"].tolist()[0])
    with pytest.raises(UserError, match="finished run"):
        reproduce("shen2024", "fig2", overrides={"model": subject["model"]}, out=tmp_path / "run")
    with pytest.raises(UserError, match="no scale 'lab'"):
        reproduce("shen2024", "fig2", scale="lab")  # type: ignore[arg-type]


def test_an_experiment_takes_the_studies_beside_it(subject: dict[str, Any], tmp_path: Path) -> None:
    overrides = {"model": subject["model"]}
    (tmp_path / "studies").mkdir()
    first = reproduce("shen2024", "fig2", overrides=overrides, out=tmp_path / "one")
    (shared,) = (tmp_path / "studies").iterdir()
    stamp = (shared / "manifest.json").stat().st_mtime_ns
    assert not (tmp_path / "one" / "studies").exists()
    again = reproduce("shen2024", "fig2", overrides=overrides, out=tmp_path / "two")
    assert (shared / "manifest.json").stat().st_mtime_ns == stamp
    pandas.testing.assert_frame_equal(again.tables["numbers"], first.tables["numbers"])
    loaded = load_study(tmp_path / "two")
    assert [study.analysis for study in loaded.parts.values()] == ["sparsity"]
    assert loaded.plot() is not None
