"""The attention that a comparison keeps to be looked at: what it is, of how many queries, and over which tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoint import TEMPLATE, write_checkpoint

import iclprobe
from iclprobe import Comparison
from iclprobe.models.loading import load_model


def settings(checkpoint: Path, records: Path, **options: Any) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "device": "cpu",
        "learning_rate": 0.5,
        "shots": 4,
        "resamples": 20,
        "null_draws": 2,
        "batch_size": 5,
        **options,
    }


def run(checkpoint: Path, records: Path, **options: Any) -> Comparison:
    return iclprobe.compare(**settings(checkpoint, records, **options))


def groups_of(study: Comparison, **where: Any) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of each setting of one comparison."""
    kept = study.tables["kept"]
    for name, value in where.items():
        kept = kept[kept[name] == value]
    return {
        row.setting: dict(study.arrays[row.arrays])
        for row in kept.itertuples()  # type: ignore[attr-defined]
    }


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("finetuned") / "model", seed=7)


@pytest.fixture(scope="module")
def made(
    checkpoint: Path, records: Path, finetuned: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, Path]:
    out = tmp_path_factory.mktemp("kept") / "run"
    options = {"finetuned": str(finetuned), "learning_rate": None, "keep_rows": 7, "keep_maps": 2}
    return run(checkpoint, records, out=out, save_captures=True, **options), out


def test_rows_are_those_of_the_captures(made: tuple[Comparison, Path]) -> None:
    study, out = made
    groups = groups_of(study)
    assert list(groups) == ["zsl", "icl", "ft"]
    for setting, arrays in groups.items():
        whole = iclprobe.Capture.load(out / "captures" / f"{setting}.safetensors")
        assert whole.scores is not None and whole.visible is not None
        width = arrays["scores"].shape[-1]
        assert arrays["layers"].tolist() == list(whole.layers) and len(arrays["scores"]) == 7
        np.testing.assert_array_equal(arrays["scores"], whole.scores[:7, ..., :width].numpy())
        np.testing.assert_array_equal(arrays["visible"], whole.visible[:7, ..., :width].numpy())
        assert not whole.visible[:7, ..., width:].any()


def test_maps_are_what_the_model_attends_to(
    made: tuple[Comparison, Path], checkpoint: Path, finetuned: Path
) -> None:
    study, _ = made
    tokens = study.tables["kept_tokens"]
    for setting, arrays in groups_of(study).items():
        model = load_model(str(finetuned if setting == "ft" else checkpoint), device="cpu")
        model.module.set_attn_implementation("eager")
        before = tokens[tokens["setting"] == ("icl" if setting == "icl" else "zsl")]["id"].tolist()
        assert [name for name in sorted(arrays) if name.startswith("map-")] == ["map-0", "map-1"]
        for query in (0, 1):
            own = tokens[(tokens["query"] == query).fillna(False)]["id"].tolist()
            with torch.no_grad():
                said = model.module(input_ids=torch.tensor([[*before, *own]]), output_attentions=True)
            expected = torch.stack(said.attentions)[:, 0, :, len(before) :].numpy()
            found = arrays[f"map-{query}"]
            assert found.shape == expected.shape and found.dtype == np.float16
            np.testing.assert_allclose(found.astype(float), expected, rtol=1e-3, atol=1e-4)


def test_tokens_are_those_of_the_prompts_with_their_parts(made: tuple[Comparison, Path]) -> None:
    study, out = made
    tokens = study.tables["kept_tokens"]
    capture = iclprobe.Capture.load(out / "captures" / "icl.safetensors")
    assert capture.prompts is not None
    before = tokens[tokens["setting"] == "icl"]
    for query in range(7):
        own = tokens[(tokens["query"] == query).fillna(False)]
        prompt = capture.prompts[query]
        assert (*before["id"], *own["id"]) == prompt.ids and (*before["text"], *own["text"]) == prompt.tokens
        assert own["token"].tolist() == list(range(len(own)))
        parts = [*before["part"], *own["part"]]
        for span in prompt.spans:
            assert {parts[token] for token in span.tokens} == {span.name}
            if span.label is not None:
                labels = before["label"].iloc[list(span.tokens)]
                assert set(labels) == {("bad", "good")[span.label]}
    assert int(tokens["query"].max()) == 6


def test_what_is_kept_comes_back_from_disk(made: tuple[Comparison, Path]) -> None:
    study, out = made
    loaded = iclprobe.load_study(out)
    assert set(loaded.arrays) == set(study.arrays)
    for group, arrays in study.arrays.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(loaded.arrays[group][name], values)


def test_keeping_changes_no_number(checkpoint: Path, records: Path) -> None:
    kept = run(checkpoint, records, seeds=(0, 1))
    without = run(checkpoint, records, seeds=(0, 1), keep_rows=0, keep_maps=0)
    assert not len(without.tables["kept"]) and not len(without.tables["kept_tokens"]) and not without.arrays
    for name, frame in kept.tables.items():
        if not name.startswith("kept"):
            assert frame.equals(without.tables[name]), name
    # The first draw's alone.
    assert set(kept.tables["kept"]["seed"]) == {0} and set(kept.tables["kept"]["rows"]) == {12}


@pytest.mark.parametrize(("rows", "maps"), [(0, 0), (1, 1), (3, 2)])
def test_maps_are_kept_of_queries_whose_rows_are(
    checkpoint: Path, records: Path, rows: int, maps: int
) -> None:
    study = run(checkpoint, records, keep_rows=rows, keep_maps=2)
    assert all(tuple(kept) == (rows, maps) for kept in study.tables["kept"][["rows", "maps"]].to_numpy())
    assert bool(study.arrays) == bool(rows)


def test_comparisons_side_by_side_share_the_pretrained_settings(checkpoint: Path, records: Path) -> None:
    study = run(checkpoint, records, shots=(2, 4), recipes=("dai", "barnatan_lcft"), keep_rows=3, keep_maps=1)
    assert len(study.arrays) == 2 * (2 + 2)
    one, other = groups_of(study, recipe="dai", shots=4), groups_of(study, recipe="barnatan_lcft", shots=4)
    np.testing.assert_array_equal(one["icl"]["map-0"], other["icl"]["map-0"])
    assert not np.array_equal(one["ft"]["scores"], other["ft"]["scores"])
    fewer = groups_of(study, recipe="dai", shots=2)
    assert fewer["icl"]["map-0"].shape[-1] < one["icl"]["map-0"].shape[-1]
    part = study["dai", 2]
    assert set(part.tables["kept"]["arrays"]) <= set(study.arrays) and len(part.tables["kept"]) == 3


@pytest.mark.parametrize(("megabytes", "fewer"), [(0.05, "maps"), (0.003, "rows"), (0.0, "everything")])
def test_what_is_kept_stays_within_the_bytes_allowed(
    checkpoint: Path, records: Path, megabytes: float, fewer: str
) -> None:
    said: list[str] = []
    study = run(checkpoint, records, keep_megabytes=megabytes, say=said.append)
    size = sum(
        values.nbytes for group in study.arrays.values() for name, values in group.items() if name != "layers"
    )
    assert size <= megabytes * 1e6
    (told,) = [line for line in said if "kept to be looked at" in line]
    assert "keep_megabytes" in told
    kept = study.tables["kept"]
    if fewer == "everything":
        assert not len(kept)
    elif fewer == "rows":
        assert 0 < kept["rows"].iloc[0] < 12 and kept["maps"].iloc[0] == 0
    else:
        assert kept["rows"].iloc[0] == 12 and kept["maps"].iloc[0] < 3
    assert f"{0 if fewer == 'everything' else kept['rows'].iloc[0]} queries" in told
