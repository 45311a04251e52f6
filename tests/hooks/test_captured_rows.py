"""Captured rows are what the softmax saw, in every family, position and column."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from expected_rows import EXACT, SITES, errors, expected, prompt_set
from tiny_families import FAMILIES

from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan

every_family = pytest.mark.parametrize("name", list(FAMILIES))
LISTED = (0, 4, -1)


@every_family
@pytest.mark.parametrize(
    "shared", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["shared-prefix", "full-prompts"]
)
def test_rows_equal_the_softmax_input(name: str, shared: bool) -> None:
    """Also: what is behind a shared prefix equals what full prompts give, for both equal the oracle."""
    model, prompts = tiny_families.build(name), prompt_set(name)
    start = len(prompts.prefix_ids)
    assert start > tiny_families.WINDOW
    asked = [("last_prompt_token", "query"), ("all", "query"), ("all", "all"), (LISTED, "all")]
    for positions, columns in asked:
        plan = CapturePlan(sites=SITES, positions=positions, columns=columns)
        got = capture(model, prompts, plan, share_prefix=shared, batch_size=3)
        assert got.manifest["prefix_shared"] is shared
        for index, query in enumerate(prompts.query_ids):
            last = start + len(query) - 1
            rows = {
                "last_prompt_token": [last],
                "all": list(range(start, last + 1)),
                LISTED: [start, start + 4, last],
            }[positions]
            kept = slice(start if columns == "query" else 0, last + 1)
            found = errors(got, index, expected(name, prompts.full_ids(index)), rows, kept)
            assert found.keys() == set(SITES)
            assert max(found.values()) <= EXACT, (positions, columns, index, found)
            assert got.columns[index].sum() == kept.stop - kept.start


@every_family
def test_the_first_label_token_is_appended_to_the_prompt(name: str) -> None:
    model, prompts = tiny_families.build(name), prompt_set(name, queries=1, labels=True)
    start = len(prompts.prefix_ids)
    for shared in (True, False):
        plan = CapturePlan(sites=SITES, positions="first_label_token")
        got = capture(model, prompts, plan, share_prefix=shared)
        for index, options in enumerate(prompts.label_ids):
            ids = prompts.full_ids(index) + options[0][:1]
            found = errors(got, index, expected(name, ids), [len(ids) - 1], slice(start, len(ids)))
            assert max(found.values()) <= EXACT, found


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mistral", "gptj", "bloom", "falcon_alibi"])
@pytest.mark.parametrize("site", SITES)
def test_one_site_alone_is_what_it_is_among_others(name: str, site: Any) -> None:
    """Scores alone are computed over the wanted columns only, the pattern needs every key."""
    model, prompts = tiny_families.build(name), prompt_set(name)
    got = capture(model, prompts, CapturePlan(sites=site))
    rows = {"scores": {"scores", "visible"}, "pattern": {"pattern", "visible"}}.get(site, {site})
    about = ("columns", "row_tokens", "top_ids", "top_logprobs")
    assert {array for array in got.arrays() if array not in about} == rows
    for index, query in enumerate(prompts.query_ids):
        start, stop = len(prompts.prefix_ids), len(prompts.prefix_ids) + len(query)
        found = errors(got, index, expected(name, prompts.full_ids(index)), [stop - 1], slice(start, stop))
        assert found.keys() == {site}
        assert found[site] <= EXACT


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma2", "gpt_oss", "gptj", "falcon"])
def test_eager_attention_is_read_as_well_as_the_default(name: str) -> None:
    model: Any = tiny_families.fresh(name)
    if name != "falcon":
        model.set_attn_implementation("eager")
    prompts = prompt_set(name, queries=2)
    got = capture(model, prompts, CapturePlan(sites=SITES))
    for index, query in enumerate(prompts.query_ids):
        start, stop = len(prompts.prefix_ids), len(prompts.prefix_ids) + len(query)
        found = errors(got, index, expected(name, prompts.full_ids(index)), [stop - 1], slice(start, stop))
        assert max(found.values()) <= EXACT


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "gptj"])
def test_layers_come_in_the_order_asked(name: str) -> None:
    model, prompts = tiny_families.build(name), prompt_set(name, queries=1)
    whole = capture(model, prompts)
    for asked, layers in [
        ((2, 0), (2, 0)),
        (slice(1, None), (1, 2)),
        ((-1,), (2,)),
        (slice(-2, None), (1, 2)),
    ]:
        got = capture(model, prompts, CapturePlan(layers=asked))
        assert got.layers == layers
        assert got.scores is not None and whole.scores is not None
        assert got.attention_output is not None and whole.attention_output is not None
        assert torch.equal(got.attention_output, whole.attention_output[:, list(layers)])
        assert torch.equal(got.scores, whole.scores[:, list(layers)])
