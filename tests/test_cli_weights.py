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
    results = json.loads(capsys.readouterr().out)
    assert results["thresholds"] == [0.1, 0.01]
    assert {(row["layer"], row["matrix"]) for row in results["layers"]} == {
        (layer, matrix) for layer in (0, 2) for matrix in ("query", "output")
    }


def test_drift_runs_over_directories_a_glob_and_the_embedded_model(
    checkpoint: Path, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", str(checkpoint), str(later), "--out", str(tmp_path / "run")]) == 0
    assert "mean |ΔW|" in capsys.readouterr().out and (tmp_path / "run" / "pairs.png").exists()
    assert main(["drift", "--glob", str(later.parent / "*"), "--json"]) == 2
    assert "CHECKPOINTS" in capsys.readouterr().err
    assert main(["drift", "--layers", "0", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert len(results["checkpoints"]) >= 10 and results["checkpoints"][0]["model"] == "pocket"


def test_a_file_of_an_unknown_family_is_read_by_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.safetensors"
    save_file({f"blocks.{layer}.w{letter}": torch.eye(4) for layer in (0, 1) for letter in "qkv"}, path)
    assert main(["sparsity", str(path)]) == 2
    assert "pattern" in capsys.readouterr().err
    pattern = "q=blocks.{layer}.wq,k=blocks.{layer}.wk,v=blocks.{layer}.wv"
    assert main(["sparsity", str(path), "--pattern", pattern, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["averaged_over_layers"]["key"]["below"] == [0.75] * 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sparsity", "no/such/model"], "no/such/model"),
        (["sparsity", "{model}", "--layers", "9"], "layer 9"),
        (["sparsity", "{model}", "--layers", "first"], "first"),
        (["sparsity", "{model}", "--threshold", "tiny"], "tiny"),
        (["sparsity", "{model}", "--matrices", "q,x"], "'x'"),
        (["sparsity", "{model}", "--pattern", "q"], "--pattern"),
        (["drift", "{model}"], "CHECKPOINTS"),
        (["drift", "{model}", "--repo", "a/b"], "--repo"),
        (["drift", "--repo", "a/b"], "--steps"),
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
