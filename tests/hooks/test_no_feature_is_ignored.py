"""A capture that forgets a feature of attention cannot pass: it lies far outside the tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import tiny_families
import torch
from ablations import without
from expected_rows import EXACT, SITES, errors, expected, prompt_set
from tiny_families import FAMILIES, FEATURES

import iclprobe.hooks.attention_sites
import iclprobe.hooks.rows
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.rows import Rows, Wanted

FAR = 1000 * EXACT
PLAN = CapturePlan(sites=SITES, positions="all", columns="all")
NO_WINDOW_FIRST = ("gpt_neo", "qwen2_sliding")
REGISTRY = [name for name in FAMILIES if name not in ("gpt_neo", "gptj", "xglm", "bloom", "codegen", "mpt")]


def worst(name: str, model: Any, layer: int = 0) -> float:
    """The worst error of scores and patterns in one layer; a wrong visible key counts as infinite."""
    prompts = prompt_set(name, queries=1)
    got: Any = capture(model, prompts, PLAN.model_copy(update={"layers": (layer,)}), share_prefix=False)
    ids = prompts.full_ids(0)
    start = len(prompts.prefix_ids)
    want = expected(name, ids)
    if not torch.equal(got.visible[0, 0, :, 0], want.visible[layer, start:]):
        return float("inf")
    found = errors(got, 0, want, range(start, len(ids)), slice(0, len(ids)))
    return max(found["scores"], found["pattern"])


def features(*names: str) -> list[Any]:
    return [
        pytest.param(family, feature, id=f"{family}-{feature}")
        for family in FAMILIES
        for feature in sorted(FEATURES[family])
        if feature in names
    ]


@pytest.mark.parametrize(
    ("name", "feature"),
    features("scaling", "softcap", "bias", "window", "rotary", "alibi", "qk_norm", "sinks"),
)
def test_a_capture_of_a_model_without_the_feature_differs(name: str, feature: str) -> None:
    expected(name, prompt_set(name, queries=1).full_ids(0))  # before the modelling file is changed
    layer = 1 if feature == "window" and name in NO_WINDOW_FIRST else 0
    with without(name, feature) as changed:
        assert worst(name, changed, layer) > FAR


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_measure_itself_holds_for_the_whole_model(name: str) -> None:
    assert worst(name, tiny_families.build(name)) <= EXACT


def forgetting(**forgotten: Any) -> Callable[..., Rows]:
    original = iclprobe.hooks.rows.score_rows

    def score_rows(*args: Any, **options: Any) -> Rows:
        return original(*args, **{**options, **forgotten})

    return score_rows


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "opt"])
def test_forgetting_the_scaling_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPT scales its queries itself."""
    monkeypatch.setattr(iclprobe.hooks.attention_sites, "score_rows", forgetting(scaling=1.0))
    assert worst(name, tiny_families.build(name)) > FAR


@pytest.mark.parametrize("name", [name for name in REGISTRY if "gqa" in FEATURES[name]])
def test_giving_a_key_head_to_the_wrong_query_heads_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tap reads keys before the model repeats them, so it must group query heads as the model does."""
    original = iclprobe.hooks.rows.score_rows

    def tiled(query: Any, key: Any, *args: Any, **options: Any) -> Rows:
        return original(query, key.repeat(1, query.shape[1] // key.shape[1], 1, 1), *args, **options)

    monkeypatch.setattr(iclprobe.hooks.attention_sites, "score_rows", tiled)
    assert worst(name, tiny_families.build(name)) > FAR


def test_forgetting_the_softcap_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iclprobe.hooks.attention_sites, "score_rows", forgetting(softcap=None))
    assert worst("gemma2", tiny_families.build("gemma2")) > FAR


def test_forgetting_the_sinks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iclprobe.hooks.attention_sites, "score_rows", forgetting(sinks=None))
    assert worst("gpt_oss", tiny_families.build("gpt_oss")) > FAR


def test_forgetting_a_position_bias_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.rows.visible_keys
    monkeypatch.setattr(iclprobe.hooks.rows, "visible_keys", lambda *given: (original(*given)[0], None))
    assert worst("falcon_alibi", tiny_families.build("falcon_alibi")) > FAR


@pytest.mark.parametrize("name", REGISTRY)
def test_forgetting_the_mask_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.rows.visible_keys

    def everything(*given: Any) -> Any:
        visible, bias = original(*given)
        return torch.ones_like(visible), bias

    monkeypatch.setattr(iclprobe.hooks.rows, "visible_keys", everything)
    assert worst(name, tiny_families.build(name)) == float("inf")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in REGISTRY])
def test_forgetting_the_mask_of_a_softmax_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.rows.softmax_rows

    def everything(*given: Any) -> Rows:
        rows = original(*given)
        return replace(rows, visible=torch.ones_like(rows.visible))

    monkeypatch.setattr(iclprobe.hooks.attention_sites, "softmax_rows", everything)
    assert worst(name, tiny_families.build(name)) == float("inf")


@pytest.mark.parametrize("name", [name for name in REGISTRY if "window" in FEATURES[name]])
def test_forgetting_the_window_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask replaced by plain causality."""
    original = iclprobe.hooks.rows.visible_keys
    monkeypatch.setattr(
        iclprobe.hooks.rows,
        "visible_keys",
        lambda mask, wanted, keys, window, device: original(None, wanted, keys, None, device),
    )
    prompts = prompt_set(name, queries=1)
    got: Any = capture(tiny_families.build(name), prompts, PLAN, share_prefix=False)
    want = expected(name, prompts.full_ids(0)).visible[:, len(prompts.prefix_ids) :]
    assert not torch.equal(got.visible[0, :, :, 0], want)


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("padding", [False, True])
def test_attention_that_is_told_its_window_by_number_is_read_alike(name: str, padding: bool) -> None:
    """An implementation with a mask of padding alone, or with none, as flash attention has."""
    ids = tiny_families.prompts(name)[0]
    want = expected(name, tuple(ids)).visible[0]
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, len(ids), 8, generator=generator)
    key = torch.randn(1, 2, len(ids), 8, generator=generator)
    mask = torch.ones(1, len(ids), dtype=torch.int64) if padding else None
    rows = iclprobe.hooks.rows.score_rows(
        query,
        key,
        mask,
        Wanted(torch.arange(len(ids))[None], past=0, tokens=len(ids), first_column=0),
        scaling=None,
        window=tiny_families.WINDOW if name == "mistral" else None,
    )
    assert torch.equal(rows.visible[0, :, 0], want)
