"""How far ICL and finetuning move each head: a literal loop over eager forwards, sentences and alarms."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from eager_oracle import softmax_inputs

import iclprobe
from iclprobe.analyses.attention.changes import label_heads, spearman
from iclprobe.analyses.attention.config import AttentionConfig
from iclprobe.analyses.attention.finetuned import compared_tokens
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.comparison.finetuned import finetune_cell
from iclprobe.hooks.captured import Capture

SMALL: dict[str, Any] = {
    "shots": 6,
    "limit": 6,
    "device": "cpu",
    "resamples": 100,
    "settings": ("zsl", "icl", "ft"),
    "learning_rate": 0.1,
    "permuted_labels": False,
}


@cache
def study(**changes: Any) -> Any:
    return iclprobe.attention(**{**SMALL, **changes})


def scores_by_loop(module: Any, ids: tuple[int, ...], columns: int) -> list[Any]:
    """The last token's scores over the last columns, layer by layer, of an eager forward."""
    return [layer.scores[:, -1, -columns:].double().numpy() for layer in softmax_inputs(module, ids)]


def variation(one: np.ndarray, other: np.ndarray) -> float:
    shares = [np.exp(each - each.max()) / np.exp(each - each.max()).sum() for each in (one, other)]
    return sum(abs(first - second) for first, second in zip(*shares, strict=True)) / 2


def test_the_changes_of_every_query_are_those_of_a_literal_loop_over_eager_forwards() -> None:
    config = AttentionConfig(**SMALL)
    model, task = iclprobe.load_model("pocket", device="cpu"), iclprobe.load_task("pocket-topic-code")
    cell = prepare_cell(config, model, task, 0)
    delta, _ = finetune_cell(config.finetuning(), model, task, cell, 6)
    kept = study().arrays["changes-seed0"]
    prompts = cell.prompts
    compared = 0
    for index in range(prompts.zero_shot.n):
        columns = len(prompts.zero_shot.query_ids[index])
        before = scores_by_loop(model.module, prompts.zero_shot.full_ids(index), columns)
        shown = scores_by_loop(model.module, prompts.icl.full_ids(index), columns)
        with delta.applied(model):
            after = scores_by_loop(model.module, prompts.zero_shot.full_ids(index), columns)
        for layer in range(6):
            for head in range(4):
                zsl, icl, ft = (each[layer][head] for each in (before, shown, after))
                at = (index, layer, head)
                assert kept["ft"][at] == pytest.approx(variation(zsl, ft), abs=2e-5)
                assert kept["icl"][at] == pytest.approx(variation(zsl, icl), abs=2e-5)
                if layer == 0:
                    # Demonstrations reach no query in the first layer: only rounding.
                    assert kept["icl"][at] == 0 and np.isnan(kept["same"][at])
                elif min(np.linalg.norm(icl - zsl), np.linalg.norm(ft - zsl)) > 0.05:
                    cosine = (icl - zsl) @ (ft - zsl) / np.linalg.norm(icl - zsl) / np.linalg.norm(ft - zsl)
                    assert kept["same"][at] == pytest.approx(cosine, abs=1e-2)
                    compared += 1
    assert compared > 50


def test_the_table_and_the_sentences_follow_from_the_changes_of_the_queries() -> None:
    made = study()
    kept, table = made.arrays["changes-seed0"], made.tables["finetuned"].set_index(["layer", "head"])
    assert list(table.index) == list(made.tables["ranked"].set_index(["layer", "head"]).index)
    for (layer, head), row in table.iterrows():
        assert row["ft"] == pytest.approx(kept["ft"][:, layer, head].mean()) and row["ft_low"] <= row["ft"]
        assert (
            row["icl"] == pytest.approx(kept["icl"][:, layer, head].mean()) and row["icl"] <= row["icl_high"]
        )
        assert row["same_defined"] == np.isfinite(kept["same"][:, layer, head]).mean()
    assert (table["labels"].to_numpy() == made.tables["ranked"]["labels"].to_numpy()).all()
    found = {finding.name: finding for finding in made.findings}
    ringed = table[table["label_head"].astype(bool)]
    moved = found["attention moved by finetuning"]
    assert moved.value == pytest.approx(ringed["ft"].mean()) and moved.low < moved.value < moved.high
    assert f"in the {len(ringed)} heads that look at labels" in moved.sentence
    together = found["heads moved by finetuning and share on labels"]
    assert together.value == pytest.approx(table["labels"].rank().corr(table["ft"].rank()))
    assert "moved by finetuning" in str(made) and "dai" in str(made) and "0.1, as given" in str(made)
    assert "template pocket" in str(made)


def test_what_finetuning_did_is_a_table_and_its_alarms_come_first() -> None:
    row = study().tables["finetuning"].iloc[0]
    assert row["source"] == "dai" and row["learning_rate"] == 0.1 and row["final_loss"] < row["first_loss"]
    assert not [each for each in study().findings if each.name == "no attention moved by finetuning"]
    still = study(learning_rate=1e-9)
    alarms = {each.name: each.sentence for each in still.findings if each.kind == "alarm"}
    assert alarms["no prediction changed by finetuning"].startswith(
        "finetuning changed no prediction: with dai and"
    )
    assert "no head by more than rounding" in alarms["no attention moved by finetuning"]
    assert "take a larger learning rate" in alarms["no attention moved by finetuning"]
    assert "attention moved by finetuning" not in {each.name for each in still.findings}
    assert still.tables["finetuned"]["ft"].eq(0).all() and still.tables["finetuned"]["same"].isna().all()
    assert str(still).startswith("finetuning changed") and still.plot("finetuned") is not None


def test_several_draws_are_each_finetuned_on_and_averaged_query_by_query() -> None:
    both = study(seeds=(0, 1), limit=4, layers=(0,))
    assert both.tables["finetuning"]["seed"].tolist() == [0, 1]
    changes = np.stack([both.arrays[f"changes-seed{seed}"]["ft"] for seed in (0, 1)])
    for row in both.tables["finetuned"].itertuples():
        assert row.ft == pytest.approx(changes[:, :, row.layer, row.head].mean())


def test_without_the_finetuned_setting_nothing_is_finetuned_and_no_picture_is_missing() -> None:
    made = study(settings=("zsl", "icl"))
    assert made.tables["finetuned"].empty and made.tables["finetuning"].empty
    assert "finetuned" not in made.drawers() and "finetuning" not in str(made)
    assert "finetuned" in study().drawers()


def test_the_layer_that_is_mapped_is_that_of_the_head_that_looks_at_labels_most() -> None:
    made = study(settings=("icl",))
    assert made.arrays["map-icl"]["layers"].tolist() == [made.tables["ranked"]["layer"].iloc[0]]
    assert study(settings=("icl",), layers=(2, -1)).arrays["map-icl"]["layers"].tolist() == [2, 5]
    text = iclprobe.attention(text="the cake was lovely", device="cpu")
    assert text.arrays["map-text"]["layers"].tolist() == [5]


def test_the_first_token_of_a_zero_shot_prompt_is_never_compared() -> None:
    columns = torch.ones(2, 4, dtype=torch.bool)
    without_begin, behind_one = (Capture((0,), columns, manifest={"first_column": first}) for first in (0, 1))
    assert compared_tokens(without_begin).tolist() == [[False, True, True, True]] * 2
    assert compared_tokens(behind_one).all() and columns.all()


def test_heads_that_look_at_labels_have_half_the_share_of_the_first_and_more_than_an_even_row() -> None:
    rows = [
        {"layer": 0, "head": head, "labels": share, "labels_low": share - 0.1, "labels_even": 0.2}
        for head, share in enumerate((0.8, 0.4, 0.39))
    ]
    assert label_heads(rows) == {(0, 0), (0, 1)}
    even = [{**row, "labels_even": 0.9} for row in rows]
    assert label_heads(even) == set()


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_pandas_own_with_ties_and_what_is_missing(seed: int) -> None:
    import pandas

    random = np.random.default_rng(seed)
    first, second = random.integers(0, 6, (4, 30)).astype(float), random.normal(size=(4, 30))
    second[:, :5], first[:, 3] = 0, math.nan
    found = spearman(torch.from_numpy(first), torch.from_numpy(second))
    for row in range(4):
        ranks = pandas.DataFrame({"one": first[row], "other": second[row]}).dropna().rank().to_numpy()
        assert float(found[row]) == pytest.approx(np.corrcoef(ranks.T)[0, 1])
    assert spearman(torch.zeros(1, 5), torch.rand(1, 5)).isnan().all()
