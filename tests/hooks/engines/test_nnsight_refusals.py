"""What nnsight does not show, or shows otherwise than it should, is told in one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from engine_parity import EXACT, plan_of, prompts_of, worst
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.engines.nnsight import NNsightEngine
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.resolved_plan import resolve_plan
from iclprobe.hooks.rows import Wanted
from iclprobe.models.loading import load_model

pytest.importorskip("nnsight")

SCORES = plan_of("scores")


def softmax_over_queries(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **kwargs: Any
) -> Any:
    weights = nn.functional.softmax(
        torch.matmul(query, key.transpose(2, 3)) * scaling + attention_mask, dim=-2
    )
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def exponentials(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **kwargs: Any
) -> Any:
    weights = torch.exp(torch.matmul(query, key.transpose(2, 3)) * scaling + attention_mask)
    return torch.matmul(weights / weights.sum(-1, keepdim=True), value).transpose(1, 2).contiguous(), weights


def everything_seen(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **kwargs: Any
) -> Any:
    weights = nn.functional.softmax(torch.matmul(query, key.transpose(2, 3)) * scaling, dim=-1)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def largest_subtracted(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **kwargs: Any
) -> Any:
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling + attention_mask
    weights = nn.functional.softmax(weights - weights.amax(dim=-1, keepdim=True), dim=-1)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


@pytest.fixture
def eager(request: pytest.FixtureRequest) -> Iterator[None]:
    ALL_ATTENTION_FUNCTIONS["eager"] = request.param
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS["eager"]


@pytest.mark.parametrize(
    ("eager", "sentence"),
    [
        (softmax_over_queries, "layer 0 of .* shows a pattern that is not the softmax of its scores"),
        (exponentials, r"nnsight 0\.8.* labels no softmax in attention of layer 0 .* it labels '"),
        (largest_subtracted, "layer 0 of .* subtracts the largest score of each row"),
        (everything_seen, "layer 0 of .* later keys are not hidden"),
    ],
    indirect=["eager"],
)
@pytest.mark.usefixtures("eager")
def test_attention_that_is_computed_otherwise(sentence: str) -> None:
    # Without grouped queries, which these functions leave out; and with the same attention by itself.
    model: Any = tiny_families.fresh("gpt_neox")
    model.config._attn_implementation = "eager"
    with pytest.raises(UserError, match=sentence) as refusal:
        capture(model, prompts_of("gpt_neox"), SCORES, engine="nnsight", share_prefix=False)
    assert "engine native" in str(refusal.value)


def test_later_keys_that_are_hidden_by_less_are_told() -> None:
    # The first GPT hides them by -10,000.
    model = tiny_decoders.build("openai-gpt")
    with pytest.raises(UserError, match=r"layer 0 of .* later keys are not hidden"):
        capture(model, prompts_of("gpt2"), SCORES, engine="nnsight")
    with pytest.raises(UserError, match=r"shows keys of \d+ tokens in layer 0"):
        capture(model, prompts_of("gpt2"), plan_of("keys"), engine="nnsight")


def test_sinks_behind_the_softmax_are_told() -> None:
    with pytest.raises(UserError, match=r"layer 0 of .* takes its sinks into account behind the softmax"):
        capture(tiny_decoders.build("granite_swa"), prompts_of("gpt2"), plan_of("pattern"), engine="nnsight")


def test_layers_with_sinks_and_without() -> None:
    model, prompts = tiny_decoders.build("mimo_v2_flash"), prompts_of("llama")
    for layers in ((1,), (0, 2)):
        plan = plan_of("pattern", layers=layers)
        found = worst(*(capture(model, prompts, plan, engine=engine) for engine in ("native", "nnsight")))
        assert max(found.values()) <= EXACT


@pytest.mark.parametrize("place", ["call", "softmax"])
def test_a_label_that_is_not_there_is_named_with_the_version(place: str) -> None:
    engine, model = NNsightEngine(), load_model(tiny_families.build("llama"))
    tokens = torch.tensor([[5, 6, 7]])
    wanted = Wanted(torch.tensor([[2]]), past=0, tokens=3, first_column=0)
    with engine.open(resolve_plan(SCORES, model)) as opened:
        opened.groups[0][1][place] = "elsewhere_7"
        with pytest.raises(UserError) as refusal:
            opened.record(wanted, tokens, torch.ones_like(tokens, dtype=torch.bool))
    said = str(refusal.value)
    assert "'elsewhere_7'" in said and engine.version in said and "layer 1" in said
    assert re.search("attention_interface|input_shape|repeat_kv", said)


def test_an_operation_that_never_runs_is_told() -> None:
    model = load_model(tiny_families.build("llama"))
    tokens = torch.tensor([[5, 6, 7]])
    wanted = Wanted(torch.tensor([[2]]), past=0, tokens=3, first_column=0)
    with NNsightEngine().open(resolve_plan(plan_of("residual"), model)) as opened:
        opened.groups[0].reverse()
        with pytest.raises(UserError, match=r"nnsight 0\.8.* never reached .*layers.*output"):
            opened.record(wanted, tokens, torch.ones_like(tokens, dtype=torch.bool))


def test_offloaded_weights_are_refused() -> None:
    module: Any = tiny_families.fresh("llama")
    module.model.layers[0].mlp.to("meta")
    with pytest.raises(UserError, match="offloaded"):
        capture(module, prompts_of("llama"), SCORES, engine="nnsight", share_prefix=False)


@pytest.mark.parametrize("version", [None, "0.7.0", "0.9.0"])
def test_a_missing_package_or_another_version(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from iclprobe.hooks.engines import packages

    def told(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(packages, "version", told)
    with pytest.raises(UserError, match=r"pip install 'iclprobe\[nnsight\]'") as refusal:
        capture(tiny_families.build("llama"), [[5, 6, 7]], CapturePlan(), engine="nnsight")
    assert version is None or version in str(refusal.value)


def test_importing_iclprobe_imports_no_engine() -> None:
    code = "import sys, iclprobe; iclprobe.capture; iclprobe.NNsightEngine; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "iclprobe.hooks.engines.nnsight" in said
    assert not {"nnsight", "transformer_lens", "websocket"} & set(said)
