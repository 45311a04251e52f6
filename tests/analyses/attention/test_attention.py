"""Shares of attention against a literal loop over eager forwards; heads that look at labels are found."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from eager_oracle import patterns
from shared_material import real_model, shared

import iclprobe
from iclprobe.analyses.attention.config import AttentionConfig
from iclprobe.analyses.attention.prompt_parts import PARTS, SPLIT, WHOLE, part_members
from iclprobe.analyses.cell import prepare_cell
from iclprobe.errors import UserError
from iclprobe.tasks.spans import Span

SMALL: dict[str, Any] = {"shots": 6, "limit": 8, "device": "cpu", "resamples": 100}


@cache
def study(**changes: Any) -> Any:
    return iclprobe.attention(**{**SMALL, **changes})


@cache
def asked() -> tuple[Any, Any, Any]:
    """The model, the task and the prompts that the study of seed 0 has."""
    model = (
        iclprobe.load_model("pocket", device="cpu", attention="eager")
        if False
        else iclprobe.load_model("pocket", device="cpu")
    )
    task = iclprobe.load_task("pocket-topic-code")
    return model, task, prepare_cell(AttentionConfig(**SMALL), model, task, 0)


def shares_by_loop(part: str) -> np.ndarray:
    """The share of every query's last row on a part, token by token, ``[N, L, H]``."""
    model, _, cell = asked()
    found = []
    for index in range(cell.prompts.icl.n):
        prompts = cell.prompts.icl
        ids, gold = prompts.full_ids(index), prompts.gold[index]
        rows = [layer[:, -1] for layer in patterns(model.module, ids)]
        with torch.no_grad():
            logits = model.module(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        predicted = int(torch.stack([logits[option[0]] for option in prompts.label_ids[index]]).argmax())
        total = [[0.0] * len(rows[0]) for _ in rows]
        for span in prompts.spans(index):
            for token in span.tokens:
                if token > 0 and holds(part, span, gold, predicted):
                    for layer, row in enumerate(rows):
                        for head in range(len(row)):
                            total[layer][head] += float(row[head, token])
        if part == "begin":
            total = [[float(row[head, 0]) for head in range(len(row))] for row in rows]
        found.append(total)
    return np.array(found)


def holds(part: str, span: Span, gold: int, predicted: int) -> bool:
    name = {"demonstration_input": "inputs", "demonstration_label": "labels", "separator": "separators"}.get(
        span.name, span.name
    )
    if part in ("right inputs", "right labels"):
        return name == part.split()[1] and span.label == gold
    if part in ("other inputs", "other labels"):
        return name == part.split()[1] and span.label != gold
    if part == "predicted labels":
        return name == "labels" and span.label == predicted
    if part == "labels not predicted":
        return name == "labels" and span.label != predicted
    return name == part


@pytest.mark.parametrize("part", PARTS)
def test_shares_are_those_of_a_literal_loop_over_eager_forwards(part: str) -> None:
    kept = study().arrays["shares-none-seed0"]["shares"][..., PARTS.index(part)]
    np.testing.assert_allclose(kept, shares_by_loop(part), rtol=0, atol=1e-5)


def test_the_whole_adds_up_to_one_and_splits_to_what_they_split() -> None:
    for name, group in study().arrays.items():
        if not name.startswith("shares"):
            continue
        for values in (group["shares"], group["even"]):
            parts = dict(zip(PARTS, np.moveaxis(values, -1, 0), strict=True))
            np.testing.assert_allclose(sum(parts[part] for part in WHOLE), 1.0, atol=1e-6)
            for whole in ("inputs", "labels"):
                split = parts[f"right {whole}"] + parts[f"other {whole}"]
                np.testing.assert_allclose(split, parts[whole], atol=1e-12)
            np.testing.assert_allclose(
                parts["predicted labels"] + parts["labels not predicted"], parts["labels"], atol=1e-12
            )


def test_every_number_of_the_tables_follows_from_the_shares_of_the_queries() -> None:
    made = study(seeds=(0, 1))
    heads, layers = made.tables["heads"], made.tables["layers"]
    for row in heads.sample(40, random_state=0).itertuples():
        kept = made.arrays[f"shares-{row.control}-seed{row.seed}"]
        place = (slice(None), list(kept["layers"]).index(row.layer))
        assert row.share == pytest.approx(kept["shares"][place][:, row.head, PARTS.index(row.part)].mean())
        assert row.even == pytest.approx(kept["even"][place][:, 0, PARTS.index(row.part)].mean())
        assert row.low <= row.share <= row.high
    mean = heads.groupby(["control", "seed", "layer", "part"])["share"].mean()
    found = layers.set_index(["control", "seed", "layer", "part"])["share"]
    pandas.testing.assert_series_equal(found.sort_index(), mean.sort_index(), check_names=False)
    right, other = PARTS.index("right labels"), PARTS.index("other labels")
    of_seeds = []
    for seed in (0, 1):
        kept = made.arrays[f"shares-none-seed{seed}"]
        shares, even = kept["shares"], kept["even"]
        with np.errstate(invalid="ignore"):
            preference = shares[..., right] / (shares[..., right] + shares[..., other])
            chance = even[..., right] / (even[..., right] + even[..., other])
        undefined = (even[..., right] == 0) | (even[..., other] == 0)
        of_seeds.append(np.where(undefined, np.nan, preference - chance))
    both = np.nanmean(np.nanmean(np.stack(of_seeds), axis=0), axis=0)
    for row in made.tables["ranked"].itertuples():
        assert row.right == pytest.approx(both[row.layer, row.head])


def test_heads_that_look_at_the_right_labels_are_found_and_permuted_labels_take_that_away() -> None:
    """The embedded model learns in context: some head finds the label of the demonstrations like the query."""
    made = study(limit=24, seeds=(0, 1), shots=8)
    best = made.tables["ranked"].sort_values("right_low", ascending=False).iloc[0]
    assert best["right_low"] > 0.3 and best["right_permuted"] < 0.5 * best["right"]
    assert best["labels_low"] > best["labels_even"]
    finding = next(each for each in made.findings if each.name == "preference for right labels")
    assert finding.value == best["right"] and finding.where == {"layer": best["layer"], "head": best["head"]}


def test_maps_are_the_patterns_of_an_eager_forward_in_every_setting() -> None:
    made = study(settings=("zsl", "icl", "ft"), layers=(0, -1), heads=(1, 3), learning_rate=0.1)
    model, task, cell = asked()
    tokens = made.tables["map_tokens"]
    for setting, prompts in (
        ("zsl", cell.prompts.zero_shot),
        ("icl", cell.prompts.icl),
        ("ft", cell.prompts.zero_shot),
    ):
        ids = prompts.full_ids(0)
        own = tokens[tokens["setting"] == setting]
        assert own["id"].tolist() == list(ids) and own["token"].tolist() == list(range(len(ids)))
        kept = made.arrays[f"map-{setting}"]
        assert kept["layers"].tolist() == [0, 5] and kept["heads"].tolist() == [1, 3]
        want = torch.stack(patterns(model.module, ids))[[0, -1]][:, [1, 3]].numpy()
        if setting == "ft":
            assert np.abs(kept["values"] - want).max() > 1e-4
            continue
        np.testing.assert_allclose(kept["values"], want, atol=1e-5)
        causal = np.tril(np.ones((len(ids), len(ids)), dtype=bool))
        assert (kept["visible"] == causal).all()
    labels = tokens[(tokens["setting"] == "icl") & (tokens["part"] == "demonstration_label")]
    assert labels["label"].tolist() == [task.label_names[record.label] for record in cell.demonstrations]
    assert labels["demonstration"].tolist() == list(range(6))


def test_scores_are_mapped_where_they_are_asked_for() -> None:
    kept = study(settings=("icl",), map="scores").arrays["map-icl"]
    rows = kept["values"][:, :, -1]
    pattern = study(settings=("icl",)).arrays["map-icl"]["values"][:, :, -1]
    shifted = np.exp(rows - rows.max(-1, keepdims=True))
    np.testing.assert_allclose(shifted / shifted.sum(-1, keepdims=True), pattern, atol=1e-6)


def test_any_query_is_mapped_and_what_is_not_there_is_refused() -> None:
    _, _, cell = asked()
    other = cell.queries[3]
    tokens = study(settings=("icl",), query=other).tables["map_tokens"]
    assert tuple(tokens["id"]) == cell.prompts.icl.full_ids(3)
    _, task, _ = asked()
    unasked = next(index for index in range(len(task.validation)) if index not in cell.queries)
    made = study(settings=("icl",), query=unasked)
    told = made.tables["map_tokens"]
    words = "".join(told[told["part"] == "query"]["text"])
    assert words.replace(" ", "") == task.template.render(task.validation[unasked]).replace(" ", "")
    assert unasked not in made.tables["queries"]["query_index"].tolist()
    with pytest.raises(UserError, match="there is no query 100000: the task has validation records 0 to"):
        iclprobe.attention(**SMALL, query=100_000)
    with pytest.raises(UserError, match="no head 9: the model has heads 0 to 3"):
        iclprobe.attention(**SMALL, heads=(9,))
    with pytest.raises(UserError, match="no layer 6"):
        iclprobe.attention(**SMALL, layers=(6,))


def test_parts_of_a_made_prompt() -> None:
    spans = (
        *(
            Span("demonstration_input", 0, 3, 0, 1),
            Span("demonstration_label", 3, 4, 0, 1),
            Span("separator", 4, 5, 0, 1),
        ),
        *(
            Span("demonstration_input", 5, 7, 1, 0),
            Span("demonstration_label", 7, 9, 1, 0),
            Span("query", 9, 11),
        ),
    )
    members = dict(zip(PARTS, part_members(spans, 12, gold=0, predicted=1), strict=True))
    told = {part: members[part].nonzero().flatten().tolist() for part in PARTS}
    assert told == {
        "begin": [0],
        "inputs": [1, 2, 5, 6],
        "labels": [3, 7, 8],
        "separators": [4],
        "query": [9, 10],
        "rest": [],
        "right inputs": [5, 6],
        "other inputs": [1, 2],
        "right labels": [7, 8],
        "other labels": [3],
        "predicted labels": [3],
        "labels not predicted": [7, 8],
    }
    assert set(SPLIT) | set(WHOLE) == set(PARTS)


def test_one_label_among_the_demonstrations_is_said_and_not_made_up() -> None:
    made = study(shots=1)
    alarm = next(each for each in made.findings if each.kind == "alarm")
    assert "ask for more shots" in alarm.sentence
    assert any("cannot be permuted" in each.sentence for each in made.findings)
    assert made.tables["ranked"]["right"].isna().all() and set(made.tables["heads"]["control"]) == {"none"}
    assert "heads that look at labels most" in str(made) and made.plot("heads") is not None


def test_a_text_of_ones_own_is_mapped_alone() -> None:
    made = iclprobe.attention(text="the cake was lovely", layers=(0, 3), device="cpu")
    model, _, _ = asked()
    ids = tuple(made.tables["map_tokens"]["id"])
    assert list(made.tables["map_tokens"]["text"]) == ["<s>", "the", "cake", "was", "lovely"]
    want = torch.stack(patterns(model.module, ids))[[0, 3]].numpy()
    np.testing.assert_allclose(made.arrays["map-text"]["values"], want, atol=1e-5)
    assert set(made.figures()) == {"last-token-text", "map-text-layer0", "map-text-layer3"}
    assert "5 tokens of the text are mapped" in str(made) and made.tables["ranked"].empty


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_memory_stays_within_the_estimate_that_is_printed_first(name: str) -> None:
    """Rows of queries behind a thousand tokens, at all layers and heads, in a process of its own."""
    place, data = real_model(name), shared("data/sst2")
    code = f"""
import re
import torch
torch.set_num_threads(1)
import iclprobe
said = []
iclprobe.attention(model={str(place)!r}, task="sst2", data={str(data)!r}, template="shen", shots=34, limit=20,
                   device="cpu", resamples=20, settings=("icl",), permuted_labels=False, say=said.append)
estimate = next(float(re.match("estimate: ([0-9.]+) GB", line)[1]) for line in said if "GB" in line)
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
print(peak / 1e9, estimate)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, estimate = map(float, done.stdout.split())
    assert 0.7 * estimate < peak < 1.02 * estimate, (peak, estimate)
