"""Sparsity of a checkpoint: from a file, a pickle, shards or a live model the same; broken weights are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from safetensors.torch import load_file, save_file
from shared_material import shared

from iclprobe.analyses.weights.sparsity import sparsity
from iclprobe.errors import UserError
from iclprobe.study.run_directory import is_complete


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tiny_families.build("llama").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["llama_bias", "gpt2", "gpt_neox", "falcon_grouped"])
def test_every_way_of_keeping_a_model_gives_the_same_table(name: str, tmp_path: Path) -> None:
    model: Any = tiny_families.build(name)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "config.json").write_text((tmp_path / "whole" / "config.json").read_text())
    torch.save(load_file(tmp_path / "whole" / "model.safetensors"), tmp_path / "pickle" / "pytorch_model.bin")
    tables = [
        sparsity(place).to_pandas()
        for place in (tmp_path / "whole", tmp_path / "shards", tmp_path / "pickle")
    ]
    tables.append(sparsity(model).to_pandas())
    numbers = [
        "layer",
        "matrix",
        "threshold",
        "below",
        "below_relative",
        "mean_absolute",
        "stable_rank",
        "entries",
    ]
    for other in tables[1:]:
        assert tables[0][numbers].equals(other[numbers])


def test_numbers_are_those_of_the_live_weights(saved: Path) -> None:
    model: Any = tiny_families.build("llama")
    study = sparsity(saved, thresholds=(0.1,))
    for row in study.rows:
        attention = model.model.layers[row.layer].self_attn
        weight = getattr(
            attention, {"query": "q_proj", "key": "k_proj", "value": "v_proj"}[row.matrix]
        ).weight
        assert float(row.statistics.below[0]) == float((weight.abs() < 0.1).double().mean())
        assert row.statistics.head_below is not None
        assert row.statistics.head_below.shape == (4 if row.matrix == "query" else 2, 1)
    of_queries = [float(row.statistics.below[0]) for row in study.rows if row.matrix == "query"]
    assert float(study.averaged("query")[0]) == pytest.approx(sum(of_queries) / len(of_queries))


def test_heads_of_the_output_projection_are_its_columns(saved: Path) -> None:
    model: Any = tiny_families.build("llama")
    (row, *_) = sparsity(saved, matrices=("output",), layers=(-1,), thresholds=(0.1,)).rows
    weight = model.model.layers[-1].self_attn.o_proj.weight
    assert row.statistics.head_below is not None
    want = (weight.abs() < 0.1).double().mean(dim=0).view(4, -1).mean(dim=1)
    torch.testing.assert_close(row.statistics.head_below[:, 0], want)


def test_a_run_directory_holds_tables_and_figures(saved: Path, tmp_path: Path) -> None:
    study = sparsity(saved, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "results.json", "table.txt", "layers.csv", "heads.csv"} <= names
    assert {"thresholds.png", "layers.png", "heads.png", "manifest.json"} <= names
    assert is_complete(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["averaged_over_layers"]["query"]["below"] == study.averaged("query").tolist()


def broken(saved: Path, folder: Path, bad: int) -> str:
    tensors = load_file(saved / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    tensors[name].view(-1)[:bad] = float("nan")
    folder.mkdir()
    (folder / "config.json").write_text((saved / "config.json").read_text())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return name


def test_undefined_entries_are_named_and_counted(saved: Path, tmp_path: Path) -> None:
    name = broken(saved, tmp_path / "broken", 7)
    with pytest.raises(UserError, match=rf"7 of the \d+ entries of {name} .*NaN"):
        sparsity(tmp_path / "broken", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    study = sparsity(tmp_path / "broken", allow_undefined=True)
    assert study.undefined == 7
    assert f"7 NaN or infinite entries left out, in {name}" in study.table()


def test_an_option_that_does_not_exist_is_named(saved: Path) -> None:
    with pytest.raises(UserError, match="unknown key 'treshold'"):
        sparsity(saved, treshold=(0.1,))
    with pytest.raises(UserError, match="layer 9"):
        sparsity(saved, layers=(9,))


@pytest.mark.parametrize("name", ["stories260k", "babyllama-tok105"])
def test_real_weights_are_far_from_the_construction(name: str) -> None:
    study = sparsity(shared(f"models/{name}"))
    assert len(study.rows) == 3 * len(study.layers)
    assert float(study.averaged("query")[0]) < 0.5
    assert all(row.statistics.undefined == 0 for row in study.rows)
