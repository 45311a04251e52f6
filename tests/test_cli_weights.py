"""`iclprobe sparsity` and `drift` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_checkpoint
import torch
from safetensors.torch import load_file, save_file

from iclprobe.cli import main


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("tiny") / "later", seed=1)


def test_sparsity_prints_a_table_or_json(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["sparsity", str(checkpoint), "--out", str(out)]) == 0
    assert "constructed W_V" in capsys.readouterr().out and (out / "thresholds.png").exists()
    arguments = [
        "sparsity",
        str(checkpoint),
        "--threshold",
        "1e-1,1e-2",
        "--matrices",
        "q,o",
        "--layers",
        "0,-1",
    ]
    assert main([*arguments, "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert [row["threshold"] for row in tables["averages"]] == [0.1, 0.01] * 2
    assert {(row["layer"], row["matrix"]) for row in tables["matrices"]} == {
        (layer, matrix) for layer in (0, 2) for matrix in ("query", "output")
    }


def test_drift_runs_over_directories_a_glob_and_the_embedded_model(
    checkpoint: Path, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", str(checkpoint), str(later), "--out", str(tmp_path / "run")]) == 0
    assert "mean |ΔW|" in capsys.readouterr().out and (tmp_path / "run" / "pairs.png").exists()
    with_commas = tmp_path / "lr=0.1,width=8,more"
    with_commas.symlink_to(later)
    assert main(["drift", str(with_commas), str(checkpoint), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert [row["model"] for row in tables["checkpoints"]] == [str(with_commas), str(checkpoint)]
    assert main(["drift", "--glob", str(later.parent / "*"), "--json"]) == 2
    assert "a series has at least 2 checkpoints" in capsys.readouterr().err
    assert main(["drift", "--layers", "0", "--json"]) == 0
    checkpoints = json.loads(capsys.readouterr().out)["tables"]["checkpoints"]
    assert len(checkpoints) >= 10 and checkpoints[0]["model"] == "pocket"
    steps = ["--repo", "pocket", "--steps", "0,64", "--layers", "0", "--matrices", "q"]
    assert main(["drift", *steps, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["revision"] for row in told["tables"]["checkpoints"]] == ["0", "64"]
    assert told["config"]["checkpoints"][1] == {"model": "pocket", "revision": "64", "step": 64}


def test_a_run_is_repeated_from_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--steps", "0,64", "--layers", "0", "--matrices", "q"]
    assert main(["drift", *steps, "--out", str(tmp_path / "run")]) == 0
    first = capsys.readouterr().out
    again = ["drift", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(again) == 0 and capsys.readouterr().out == first
    assert main(["show", str(tmp_path / "run"), str(tmp_path / "again")]) == 0
    assert "mean |ΔW| to the previous, checkpoint 64" in capsys.readouterr().out


def test_the_former_spelling_of_no_stable_ranks_says_the_new_one(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sparsity", str(checkpoint), "--no-stable-rank"]) == 2
    assert "--no-stable-rank is now --stable-rank false" in capsys.readouterr().err
    assert main(["sparsity", str(checkpoint), "--stable-rank", "false", "--json"]) == 0
    matrices = json.loads(capsys.readouterr().out)["tables"]["matrices"]
    assert {row["stable_rank"] for row in matrices} == {None}


def test_a_file_of_an_unknown_family_is_read_by_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.safetensors"
    save_file({f"blocks.{layer}.w{letter}": torch.eye(4) for layer in (0, 1) for letter in "qkv"}, path)
    assert main(["sparsity", str(path)]) == 2
    assert "pattern" in capsys.readouterr().err
    pattern = "q=blocks.{layer}.wq,k=blocks.{layer}.wk,v=blocks.{layer}.wv"
    assert main(["sparsity", str(path), "--pattern", pattern, "--json"]) == 0
    averages = json.loads(capsys.readouterr().out)["tables"]["averages"]
    assert [row["below"] for row in averages if row["matrix"] == "key"] == [0.75] * 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sparsity", "no/such/model"], "no/such/model"),
        (["sparsity", "{model}", "--layers", "9"], "layer 9"),
        (["sparsity", "{model}", "--layers", "first"], "first"),
        (["sparsity", "{model}", "--threshold", "tiny"], "tiny"),
        (["sparsity", "{model}", "--matrices", "q,x"], "'x'"),
        (["sparsity", "{model}", "--pattern", "q"], "--pattern"),
        (["drift", "{model}"], "--checkpoints"),
        (["drift", "{model}", "{model}", "--repo", "a/b"], "by repo with steps"),
        (["drift", "--repo", "a/b"], "needs steps"),
        (["drift", "--glob", "/no/such/place-*"], "/no/such/place-*"),
        (["drift", "{model}", "{model}", "--icl", "no-such-task"], "no-such-task"),
        (["sparsity", "{broken}"], "model.layers.0.self_attn.q_proj.weight"),
        (["sparsity", "{corrupt}"], "model.safetensors"),
        (["sparsity", "{missing}"], "model-00002-of-00002.safetensors"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    checkpoint: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"model": checkpoint, "broken": tmp_path / "broken"}
    places |= {"corrupt": tmp_path / "corrupt", "missing": tmp_path / "missing"}
    for folder in (places["broken"], places["corrupt"], places["missing"]):
        folder.mkdir()
        (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"][0, 0] = float("nan")
    save_file(tensors, places["broken"] / "model.safetensors")
    (places["corrupt"] / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not json at all!" + bytes(32))
    index = {"weight_map": dict.fromkeys(tensors, "model-00002-of-00002.safetensors")}
    (places["missing"] / "model.safetensors.index.json").write_text(json.dumps(index))
    out = tmp_path / "run"
    filled = [argument.format(**places) for argument in arguments]
    assert main([*filled, "--out", str(out)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iclprobe: ")]
    assert len(told) == 1 and named in told[0]
    assert not out.exists() and not list(tmp_path.glob(".*unfinished*"))
