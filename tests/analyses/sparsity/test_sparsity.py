"""Sparsity of a checkpoint: from a file, a pickle, shards or a live model the same; broken weights are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from safetensors.torch import load_file, save_file
from shared_material import shared
from weight_tables import averaged

from iclprobe import SparsityConfig, load_study, sparsity
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
    first, *others = [
        sparsity(place) for place in (tmp_path / "whole", tmp_path / "shards", tmp_path / "pickle", model)
    ]
    numbers = ["layer", "matrix", "mean_absolute", "excess_kurtosis", "stable_rank", "entries", "width"]
    for other in others:
        assert first.to_pandas().equals(other.to_pandas())
        assert first.tables["heads"].equals(other.tables["heads"])
        assert first.tables["matrices"][numbers].equals(other.tables["matrices"][numbers])


def test_numbers_are_those_of_the_live_weights(saved: Path) -> None:
    model: Any = tiny_families.build("llama")
    study = sparsity(saved, thresholds=(0.1,))
    heads = study.tables["heads"].groupby(["layer", "matrix"])["head"].agg(list)
    rows: Any = study.to_pandas().itertuples()
    for row in rows:
        attention = model.model.layers[row.layer].self_attn
        weight = getattr(
            attention, {"query": "q_proj", "key": "k_proj", "value": "v_proj"}[str(row.matrix)]
        ).weight
        assert row.below == float((weight.abs() < 0.1).double().mean())
        assert heads[row.layer, row.matrix] == list(range(4 if row.matrix == "query" else 2))
    of_queries = study.to_pandas().query("matrix == 'query'")["below"]
    assert float(averaged(study, "query")[0]) == pytest.approx(sum(of_queries) / len(of_queries))


def test_heads_of_the_output_projection_are_its_columns(saved: Path) -> None:
    model: Any = tiny_families.build("llama")
    heads = sparsity(saved, matrices=("output",), layers=(-1,), thresholds=(0.1,)).tables["heads"]
    weight = model.model.layers[-1].self_attn.o_proj.weight
    want = (weight.abs() < 0.1).double().mean(dim=0).view(4, -1).mean(dim=1)
    torch.testing.assert_close(torch.tensor(heads["below"].tolist(), dtype=torch.float64), want)


def test_a_run_directory_holds_tables_and_figures(saved: Path, tmp_path: Path) -> None:
    study = sparsity(saved, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "table.txt", "fractions.csv", "matrices.csv", "heads.csv"} <= names
    assert {"thresholds.png", "layers.png", "heads.png", "manifest.json"} <= names
    assert is_complete(tmp_path / "run")
    loaded = load_study(tmp_path / "run")
    assert torch.equal(averaged(loaded, "query"), averaged(study, "query"))
    assert loaded.table() == study.table() and loaded.config == study.config


def test_every_mean_that_the_table_shows_is_a_finding(saved: Path) -> None:
    study = sparsity(saved, thresholds=(0.1, 0.01), matrices=("value", "output"))
    found = {
        (each.name, each.where["matrix"]): each.value for each in study.findings if each.kind == "result"
    }
    assert len(found) == 2 * (2 + 2 + 4)
    assert found["entries with |w| < 0.01", "W_V"] == 100 * float(averaged(study, "value")[1])
    relative = 100 * float(averaged(study, "output", "below_relative")[0])
    assert found["entries with |w| < 0.1 standard deviations", "W_O"] == relative
    ranks = study.tables["matrices"].query("matrix == 'output'")["stable_rank"]
    assert found["stable rank", "W_O"] == pytest.approx(ranks.mean())


def test_a_matrix_may_be_named_by_its_letter() -> None:
    spoken: dict[str, Any] = {"matrices": "q,o", "layers": 0, "pattern": {"k": "{layer}.k"}}
    asked = SparsityConfig(**spoken)
    assert (asked.matrices, asked.layers) == (("query", "output"), (0,))
    assert asked.pattern == {"key": "{layer}.k"}
    twice: dict[str, Any] = {"matrices": ["key", "k"]}
    assert SparsityConfig(**twice).matrices == ("key",)
    with pytest.raises(UserError, match="matrices"):
        sparsity(matrices={"query": 1})


def test_stable_ranks_that_are_left_out_are_undefined(saved: Path) -> None:
    study = sparsity(saved, stable_rank=False)
    assert study.tables["matrices"]["stable_rank"].isna().all()
    assert "stable rank" not in {each.name for each in study.findings}


def test_unknown_heads_are_said_in_their_figure(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({f"blocks.{layer}.w": torch.eye(4) for layer in (0, 1)}, path)
    study = sparsity(path, matrices=("query",), pattern={"query": "blocks.{layer}.w"}, out=tmp_path / "run")
    assert len(study.tables["heads"]) == 0
    assert "heads of this checkpoint are unknown" in study.plot("heads").get_supxlabel()


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
    assert study.tables["matrices"]["undefined"].sum() == 7
    assert f"7 NaN or infinite entries left out, in {name}" in " ".join(study.table().split())


def test_an_option_that_does_not_exist_is_named(saved: Path) -> None:
    with pytest.raises(UserError, match="unknown key 'treshold'"):
        sparsity(saved, treshold=(0.1,))
    with pytest.raises(UserError, match="layer 9"):
        sparsity(saved, layers=(9,))


@pytest.mark.parametrize("name", ["stories260k", "babyllama-tok105"])
def test_real_weights_are_far_from_the_construction(name: str) -> None:
    study = sparsity(shared(f"models/{name}"))
    matrices = study.tables["matrices"]
    assert len(matrices) == 3 * len(set(matrices["layer"]))
    assert float(averaged(study, "query")[0]) < 0.5
    assert (matrices["undefined"] == 0).all()
