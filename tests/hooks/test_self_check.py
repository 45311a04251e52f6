"""The self-check holds for every family as it is, and notices what is planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import shared_material
import tiny_families
import torch
from tiny_families import FAMILIES
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import iclprobe.hooks.attention_sites
import iclprobe.hooks.module_sites
import iclprobe.hooks.prompt_run
import iclprobe.hooks.rows
from iclprobe.hooks.rows import Rows
from iclprobe.hooks.self_check import Check, SelfCheck, self_check
from iclprobe.models.loading import load_model

FIRED, SAME_LOGITS, ATTENTION, BATCHES, PREFIX, OUTPUT, ROWS = range(7)


def held(model: Any) -> list[bool]:
    return [check.held for check in self_check(model).checks]


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_passes(name: str) -> None:
    result = self_check(tiny_families.build(name))
    assert result.held, result.lines()
    assert result.dtype == "float32"
    assert all(check.measured <= 2e-5 for check in result.checks)
    if name == "mpt":
        assert "never padded" in result.checks[BATCHES].note


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gptj", "bloom", "falcon_alibi", "gpt_oss"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_passes_with_its_own_tolerance(name: str, dtype: torch.dtype) -> None:
    model: Any = tiny_families.fresh(name)
    result = self_check(model.to(dtype))
    assert result.held, result.lines()
    assert result.checks[ATTENTION].tolerance > 1e-4


def test_prompts_may_be_given_and_no_prefix_is_said() -> None:
    result = self_check(tiny_families.build("llama"), tiny_families.prompts("llama"))
    assert result.held
    assert result.checks[PREFIX].note == "these prompts share no prefix"


def test_a_window_that_is_not_exceeded_is_said() -> None:
    model: Any = tiny_families.fresh("mistral")
    model.config.sliding_window = 4096
    result = self_check(model)
    assert result.held
    assert "do not exceed the window of 4096" in result.checks[ATTENTION].note
    assert self_check(tiny_families.build("mistral")).checks[ATTENTION].note == ""


def test_a_distant_window_is_exceeded_by_two_prompts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = FAMILIES["mistral"]()
    config.sliding_window, config.max_position_embeddings = 300, 1024
    model = AutoModelForCausalLM.from_config(config).eval()
    result = self_check(model)
    assert result.held, result.lines()
    assert result.checks[-1].name == "all of this holds on both sides of 300 tokens"
    original = iclprobe.hooks.rows.visible_keys

    def causal(mask: Any, wanted: Any, keys: int, window: Any, device: Any) -> Any:
        return original(None, wanted, keys, None, device)

    monkeypatch.setattr(iclprobe.hooks.rows, "visible_keys", causal)
    assert held(model) == [True] * 7 + [False]


@pytest.mark.real
def test_the_window_of_a_real_model_is_exceeded() -> None:
    # Six of its eighteen layers: five that have a window, and one that sees everything.
    place = shared_material.real_model("gemma3-270m")
    module = AutoModelForCausalLM.from_pretrained(place, num_hidden_layers=6, dtype=torch.float32)
    assert set(module.config.layer_types[:6]) == {"sliding_attention", "full_attention"}
    result = self_check(load_model(module, tokenizer=AutoTokenizer.from_pretrained(place)))
    assert result.held, result.lines()
    assert result.checks[-1].name == "all of this holds on both sides of 512 tokens"


def test_weights_that_are_not_numbers_are_noticed() -> None:
    model: Any = tiny_families.fresh("llama")
    with torch.no_grad():
        model.model.layers[2].self_attn.q_proj.weight.fill_(float("nan"))
    assert not any(held(model)[2:])


def test_a_short_context_is_respected() -> None:
    model: Any = tiny_families.fresh("gpt2")
    model.config.n_positions = model.config.max_position_embeddings = 9
    assert self_check(model).held


def forgetting(**forgotten: Any) -> Callable[..., Rows]:
    original = iclprobe.hooks.rows.score_rows

    def score_rows(*args: Any, **options: Any) -> Rows:
        return original(*args, **{**options, **forgotten})

    return score_rows


@pytest.mark.parametrize(
    ("name", "forgotten"),
    [
        ("llama", {"scaling": 1.0}),
        ("falcon", {"scaling": 1.0}),
        ("gemma2", {"softcap": None}),
        ("gpt_oss", {"sinks": None}),
    ],
)
def test_rows_that_forget_something_are_noticed(
    name: str, forgotten: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iclprobe.hooks.attention_sites, "score_rows", forgetting(**forgotten))
    result = held(tiny_families.build(name))
    assert result[ATTENTION] is False
    assert result[SAME_LOGITS] is True


@pytest.mark.parametrize("name", ["gptj", "bloom", "mpt"])
def test_wrong_rows_of_a_softmax_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.rows.softmax_rows
    monkeypatch.setattr(
        iclprobe.hooks.attention_sites,
        "softmax_rows",
        lambda *given: Rows(original(*given).scores * 1.01, original(*given).visible),
    )
    assert held(tiny_families.build(name))[ATTENTION] is False


def test_attention_that_ignores_the_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def blind(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        everything = torch.ones(len(query), 1, query.shape[2], key.shape[2], dtype=torch.bool)
        return real(module, query, key, value, everything, **options)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa", blind)
    result = held(tiny_families.build("llama"))
    assert result[ATTENTION] is False
    assert result[BATCHES] is False
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is blind


def test_a_tap_that_changes_the_model_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.rows.take_rows

    def meddling(tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        tensor.mul_(1.01)
        return original(tensor, rows)

    monkeypatch.setattr(iclprobe.hooks.module_sites, "take_rows", meddling)
    assert held(tiny_families.build("llama"))[SAME_LOGITS] is False


def test_a_prefix_that_is_not_the_demonstrations_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.prompt_run.encode_prefix
    monkeypatch.setattr(
        iclprobe.hooks.prompt_run,
        "encode_prefix",
        lambda model, ids, **how: original(model, ids[::-1], **how),
    )
    assert held(tiny_families.build("gpt2")) == [True] * 4 + [False, True, True]


def test_a_layer_that_does_not_run_is_said_and_nothing_else_is_claimed() -> None:
    model: Any = tiny_families.fresh("llama")
    model.model.layers[1].forward = lambda hidden_states, *args, **kwargs: hidden_states
    result = self_check(model)
    assert not any(check.held for check in result.checks)
    assert "layer 1" in result.checks[FIRED].note


def test_the_result_prints_and_is_json() -> None:
    result = SelfCheck(
        "ours",
        "float32",
        (Check("one", 1e-6, 1e-4), Check("two", float("inf"), 0.0, "why"), Check("three", float("nan"), 1.0)),
    )
    assert not result.held
    lines = result.lines()
    assert lines[0] == "held    one    1.0e-06 (tolerance 1e-04)"
    assert lines[1] == "FAILED  two    inf (tolerance 0e+00)  why"
    assert lines[2].startswith("FAILED  three")
    loaded = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert loaded["held"] is False
    assert loaded["checks"][0] == {
        "name": "one",
        "measured": 1e-6,
        "tolerance": 1e-4,
        "note": "",
        "held": True,
    }
    assert loaded["checks"][1]["measured"] is None
