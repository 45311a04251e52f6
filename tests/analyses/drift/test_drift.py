"""Drift over checkpoints: exact zeros, literal numbers, each tensor read once, broken series named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
import tiny_families
import torch
from weight_tables import between, parameter_gap

import iclprobe.analyses.drift.matrix_drift as drift_module
from iclprobe import DriftConfig, drift, load_study
from iclprobe.analyses.drift.series import with_series
from iclprobe.analyses.weights.checkpoints import (
    Checkpoint,
    checkpoints_at,
    checkpoints_by_step,
    checkpoints_matching,
)
from iclprobe.errors import UserError
from iclprobe.models.projection_file import ProjectionFile
from iclprobe.study.run_directory import is_complete

PLACES = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four states of one model: the weights take a step, stand still, and take the step back."""
    folder = tmp_path_factory.mktemp("series")
    model: Any = tiny_families.fresh("llama")
    generator = torch.Generator().manual_seed(0)
    step = {
        name: 0.01 * torch.randn(parameter.shape, generator=generator)
        for name, parameter in model.named_parameters()
    }
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for number, sign in ((0, 0.0), (100, 1.0), (200, 1.0), (1000, 0.0)):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(start[name] + sign * step[name])
        model.save_pretrained(folder / f"checkpoint-{number}")
    return folder


def weight(folder: Path, layer: int, matrix: str) -> torch.Tensor:
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    return tensors[f"model.layers.{layer}.self_attn.{PLACES[matrix]}.weight"].double()


def rows_of(study: Any) -> list[Any]:
    return list(study.to_pandas().itertuples(index=False))


def test_numbers_are_literal_differences_of_the_files(series: Path) -> None:
    study = drift(checkpoints_matching(str(series / "checkpoint-*")))
    folders = [series / f"checkpoint-{number}" for number in (0, 100, 200, 1000)]
    assert list(study.tables["checkpoints"]["checkpoint"]) == ["0", "100", "200", "1000"]
    rows = rows_of(study)
    for row in rows:
        other = {"previous": row.place - 1, "first": 0, "last": 3}[row.against]
        pair = sorted((other, row.place))
        before, after = (weight(folders[index], row.layer, row.matrix) for index in pair)
        assert row.mean_absolute == pytest.approx(float((after - before).abs().mean()), rel=1e-12)
        relative = float((after - before).norm() / before.norm())
        assert row.relative_frobenius == pytest.approx(relative, rel=1e-12)
        assert row.step_gap == abs((0, 100, 200, 1000)[other] - (0, 100, 200, 1000)[row.place])
    assert len(rows) == 3 * 3 * (3 + 3 + 3)
    back = [row for row in rows if row.place == 3 and row.against == "first"]
    assert all(row.mean_absolute < 1e-7 for row in back)
    gaps = parameter_gap(study, "previous")
    assert torch.isnan(gaps[0]) and gaps[2] == 0.0 and gaps[1] > 0.005


def test_successive_updates_have_a_cosine_where_both_moved(series: Path) -> None:
    folders = [series / f"checkpoint-{number}" for number in (0, 100, 1000)]
    rows = rows_of(drift(folders))
    cosines = [row.update_cosine for row in rows if row.place == 2 and row.against == "previous"]
    assert cosines == pytest.approx([-1.0] * len(cosines), abs=1e-6)


def test_updates_that_storing_rounds_away_have_no_cosine_and_are_counted(tmp_path: Path) -> None:
    model: Any = tiny_families.fresh("llama").bfloat16()
    generator = torch.Generator().manual_seed(0)
    exact = {name: parameter.detach().float() for name, parameter in model.named_parameters()}
    step = {name: torch.randn(start.shape, generator=generator) * start for name, start in exact.items()}
    # Relative to each entry: a tenth of bf16's epsilon, then ten of them, in one direction all along.
    for number, size in enumerate((0.0, 0.1, 0.2, 10.2, 20.2)):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(exact[name] + size * 2**-7 * step[name])
        model.save_pretrained(tmp_path / f"step{number}")
    study = drift([str(tmp_path / f"step{number}") for number in range(5)])
    rows = [row for row in rows_of(study) if row.against == "previous"]
    found = {place: [row.update_cosine for row in rows if row.place == place] for place in (1, 2, 3, 4)}
    for place in (1, 2, 3):
        assert all(math.isnan(cosine) for cosine in found[place])
    assert all(cosine > 0.95 for cosine in found[4])
    assert [each.value for each in study.findings if each.name == "update cosines"] == [2 * 9]
    said = " ".join(study.table().split())
    assert "18 of 27 cosines are undefined, where an update is no longer than the rounding" in said


def test_two_checkpoints_are_compared_once_and_stand_in_every_row(series: Path) -> None:
    rows = rows_of(drift([series / "checkpoint-0", series / "checkpoint-100"], layers=(1,)))
    assert [(row.matrix, row.place, row.against) for row in rows] == [
        (matrix, checkpoint, against)
        for matrix in PLACES
        for checkpoint, against in ((0, "last"), (1, "previous"), (1, "first"))
    ]
    moved = [(row.mean_absolute, row.rms, row.relative_frobenius, row.entries) for row in rows]
    assert all(moved[place] == moved[place + 1] == moved[place + 2] for place in (0, 3, 6))
    assert len(set(moved)) == 3


def test_identical_checkpoints_do_not_drift_at_all(series: Path) -> None:
    place = str(series / "checkpoint-0")
    study = drift([place, place, place])
    assert all(
        (row.mean_absolute, row.rms, row.relative_frobenius) == (0.0, 0.0, 0.0) for row in rows_of(study)
    )
    assert torch.equal(between(study), torch.zeros(3, 3, dtype=torch.float64))


def test_the_pairwise_table_agrees_with_the_gaps(series: Path) -> None:
    study = drift(checkpoints_matching(str(series / "checkpoint-*")))
    pairwise = between(study)
    torch.testing.assert_close(pairwise[0, 1:], parameter_gap(study, "first")[1:], atol=1e-12, rtol=0)
    assert torch.equal(pairwise, pairwise.T)


def test_each_tensor_is_read_once_and_few_are_kept(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[str, int, str]] = []
    original = ProjectionFile.read

    def read(self: ProjectionFile, layer: int, matrix: Any) -> Any:
        reads.append((self.label, layer, matrix))
        return original(self, layer, matrix)

    monkeypatch.setattr(ProjectionFile, "read", read)
    drift(checkpoints_matching(str(series / "checkpoint-*")))
    assert len(reads) == len(set(reads)) == 4 * 3 * 3
    layers = [layer for _, layer, _ in reads]
    assert layers == sorted(layers)


def test_a_large_matrix_is_sampled_alike_at_every_checkpoint(
    series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_module, "_SAMPLED_ENTRIES", 200)
    study = drift(checkpoints_matching(str(series / "checkpoint-*")))
    assert float(between(study)[1, 2]) == 0.0
    assert float(between(study)[0, 1]) == pytest.approx(float(parameter_gap(study, "first")[1]), rel=0.2)


def test_tasks_run_at_every_checkpoint(tmp_path: Path) -> None:
    places = [str(tiny_checkpoint.write_checkpoint(tmp_path / f"step{seed}", seed=seed)) for seed in (1, 2)]
    study = drift(
        places, icl=("pocket-tone",), shots=4, seeds=(0, 1), limit=8, layers=(0,), out=tmp_path / "run"
    )
    accuracy = study.tables["accuracy"]
    assert list(accuracy[["checkpoint", "seed", "queries"]].itertuples(index=False, name=None)) == [
        (label, seed, 8) for label in ("1", "2") for seed in (0, 1)
    ]
    assert "pocket-tone (ICL %)" in study.table()
    found = {each.where["checkpoint"]: each for each in study.findings if each.name == "ICL accuracy"}
    assert found["2"].value == pytest.approx(50 * accuracy.query("place == 1")["icl"].sum())
    assert found["2"].null == 50
    assert is_complete(tmp_path / "run") and (tmp_path / "run" / "accuracy.csv").exists()
    loaded = load_study(tmp_path / "run")
    assert loaded.config == study.config and loaded.table() == study.table()


def test_checkpoints_of_different_models_are_refused(series: Path, tmp_path: Path) -> None:
    first = str(series / "checkpoint-0")
    tiny_families.build("qwen2").save_pretrained(tmp_path / "qwen2")
    with pytest.raises(UserError, match=r"is a llama and .* a qwen2"):
        drift([first, str(tmp_path / "qwen2")])
    wider = tiny_checkpoint.write_checkpoint(tmp_path / "other", layers=5)
    with pytest.raises(UserError, match=r"9 matrices and .* 15"):
        drift([first, str(wider)])
    model: Any = tiny_families.build("llama_bias")
    model.save_pretrained(tmp_path / "shapes")
    with pytest.raises(UserError, match=r"query weights of layer 0 have shape \(32, 32\).*\(48, 32\)"):
        drift([first, str(tmp_path / "shapes")])
    with pytest.raises(UserError, match="checkpoints"):
        drift([first])


def test_a_series_is_named_in_several_ways(series: Path) -> None:
    assert [entry.step for entry in checkpoints_matching(str(series / "*"))] == [0, 100, 200, 1000]
    assert checkpoints_by_step("a/b", (512, 0)) == (
        Checkpoint("a/b", "step0", 0),
        Checkpoint("a/b", "step512", 512),
    )
    assert checkpoints_by_step("pocket", (3,))[0].revision == "3"
    assert checkpoints_at(["a/b@main", "c/final"]) == (Checkpoint("a/b", "main"), Checkpoint("c/final"))
    with pytest.raises(UserError, match="no path matches"):
        checkpoints_matching("/no/such/place-*")
    with pytest.raises(UserError, match=r"\{step\}"):
        checkpoints_by_step("a/b", (1,), "main")


def test_python_and_yaml_name_a_series_as_the_command_line_does(series: Path) -> None:
    def places(**named: Any) -> list[tuple[str, str | None, int | None]]:
        found = with_series(DriftConfig(**named)).checkpoints
        return [(each.model, each.revision, each.step) for each in found]

    at = [str(series / f"checkpoint-{step}") for step in (0, 100)]
    wanted = [(place, None, step) for place, step in zip(at, (0, 100), strict=True)]
    for named in (at, tuple(map(Path, at)), at[::-1], ",".join(at), [{"model": at[0], "step": 0}, at[1]]):
        assert places(checkpoints=named) == wanted
    with pytest.raises(UserError, match="a series has at least 2"):
        places(glob=str(series / "checkpoint-?"))
    assert places(glob=str(series / "checkpoint-*"))[:2] == wanted
    assert places(repo="a/b", steps="512,0", revision_template="s{step}") == [
        ("a/b", "s0", 0),
        ("a/b", "s512", 512),
    ]
    assert places(steps=[0, 64]) == [("pocket", "0", 0), ("pocket", "64", 64)]
    assert len(places()) >= 10 and places() == places(repo="pocket")
    resolved = with_series(DriftConfig(steps=(0, 64)))
    assert resolved.repo is None and DriftConfig(**resolved.model_dump()) == resolved


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"checkpoints": ["a"]}, "at least 2 checkpoints"),
        ({"checkpoints": ["a", "b"], "repo": "a/b"}, "choose one way"),
        ({"glob": "a*", "steps": (1, 2)}, "choose one way"),
        ({"repo": "a/b"}, "needs steps"),
        ({"repo": "a/b", "steps": (1, 1)}, "2 different steps"),
        ({"steps": (1, 2), "revision_template": "main"}, "no {step} in it"),
        ({"glob": "/no/such/place-*"}, "no path matches"),
    ],
)
def test_a_series_that_cannot_be_meant_is_one_sentence(named: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        drift(**named)
