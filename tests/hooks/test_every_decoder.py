"""Every model type of the table is captured as its softmax saw it, and no feature of its attention is ignored."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import eager_oracle
import pytest
import tiny_decoders
import tiny_families
import torch
from expected_rows import EXACT, SITES, Expected, errors, expected_of
from removed_features import without
from tiny_decoders import DECODERS
from tiny_families import FAMILIES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

import iclprobe.hooks.attention_sites
import iclprobe.hooks.rows
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.rows import Rows
from iclprobe.tasks.prompts import PromptSet

FAR = 1000 * EXACT
FAINT = {("beam", "temperature"): 100 * EXACT}
"""Beam scales queries by exp(0.1 · log(1 + position / 2048)), which prompts of tens of tokens hardly feel."""
SCORES = CapturePlan(sites=("scores", "pattern"), positions="all", columns="all")
every_decoder = pytest.mark.parametrize("name", list(DECODERS))


@functools.cache
def expected(name: str, ids: tuple[int, ...]) -> Expected:
    """What the oracle reads in one prompt of the shared tiny model."""
    return expected_of(tiny_decoders.build(name), ids)


def prompt_set(name: str, queries: int = 3) -> PromptSet:
    """Queries of different lengths behind a prefix; both are longer than the sliding window."""
    return PromptSet(tiny_decoders.prefix(name), tiny_decoders.prompts(name)[:queries], (), ())


@every_decoder
def test_rows_equal_the_softmax_input(name: str) -> None:
    """Behind a shared prefix and in full padded batches alike: both equal the oracle."""
    model, prompts = tiny_decoders.build(name), prompt_set(name)
    sites: Any = tuple(
        site for site in SITES if site != "mlp_output" or DECODERS[name].layout.mlp_output is not None
    )
    start = len(prompts.prefix_ids)
    for shared in (True, False):
        plan = CapturePlan(sites=sites, positions="all", columns="all")
        got = capture(model, prompts, plan, share_prefix=shared, batch_size=3)
        assert got.layers == eager_oracle.attending(model)
        assert got.manifest["prefix_shared"] is (shared and DECODERS[name].shares_prefix)
        for index in range(prompts.n):
            ids = prompts.full_ids(index)
            found = errors(got, index, expected(name, ids), range(start, len(ids)), slice(0, len(ids)))
            assert found.keys() == set(sites)
            assert max(found.values()) <= EXACT, (shared, index, found)


def worst(name: str, model: Any) -> float:
    """The worst error of scores and patterns over all layers; a wrong visible key counts as infinite."""
    prompts = prompt_set(name, queries=1)
    ids, start = prompts.full_ids(0), len(prompts.prefix_ids)
    want = expected(name, ids)
    got: Any = capture(model, prompts, SCORES, share_prefix=False)
    if not torch.equal(got.visible[0, :, :, 0], want.visible[:, start:]):
        return float("inf")
    found = errors(got, 0, want, range(start, len(ids)), slice(0, len(ids)))
    return max(found["scores"], found["pattern"])


@pytest.mark.parametrize(
    ("name", "feature"),
    [(name, feature) for name in DECODERS for feature in sorted(DECODERS[name].features - {"mask"})],
)
def test_a_capture_of_a_model_without_the_feature_differs(name: str, feature: str) -> None:
    expected(name, prompt_set(name, queries=1).full_ids(0))  # before the modelling file is changed
    with without(tiny_decoders.build(name), feature) as changed:
        assert worst(name, changed) > FAINT.get((name, feature), FAR)


@every_decoder
def test_forgetting_the_mask_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mask" in DECODERS[name].features
    visible_keys, softmax_rows = iclprobe.hooks.rows.visible_keys, iclprobe.hooks.rows.softmax_rows

    def every_key(*given: Any) -> Any:
        visible, bias = visible_keys(*given)
        return torch.ones_like(visible), bias

    def every_row(*given: Any) -> Rows:
        rows = softmax_rows(*given)
        return replace(rows, visible=torch.ones_like(rows.visible))

    monkeypatch.setattr(iclprobe.hooks.rows, "visible_keys", every_key)
    monkeypatch.setattr(iclprobe.hooks.attention_sites, "softmax_rows", every_row)
    assert worst(name, tiny_decoders.build(name)) == float("inf")


def test_at_least_ninety_types_with_sixty_attention_classes_are_tested() -> None:
    """Counted over every model whose capture is compared with the oracle, here and in `test_captured_rows`."""
    decoders, families = list(DECODERS.values()), [FAMILIES[name]() for name in FAMILIES]
    types = {decoder.model_type for decoder in decoders} | {config.model_type for config in families}
    assert types <= {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES}
    models = [tiny_decoders.build(name) for name in DECODERS]
    models += [tiny_families.build(name) for name in FAMILIES]
    classes = {
        type(layer.get_submodule(eager_oracle.layout_of(model).attention))
        for model in models
        for layer in eager_oracle.attention_layers(model)
    }
    assert len(types) >= 90
    assert len(classes) >= 60
