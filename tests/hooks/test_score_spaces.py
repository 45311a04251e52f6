"""Each score space against models that lack the later steps, so that their softmax sees that space itself."""

from __future__ import annotations

from typing import Any

import eager_oracle
import pytest
import tiny_families
import torch
from ablations import without
from expected_rows import EXACT
from tiny_families import FAMILIES
from torch import Tensor

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.families import resolve_family

NO_RAW = ("gptj", "codegen", "xglm", "bloom", "mpt", "opt")


def in_space(model: Any, ids: list[int], space: Any) -> Tensor:
    """The first layer's scores `[H, S, S]` in a space."""
    plan = CapturePlan(sites=("scores",), layers=(0,), positions="all", columns="all", score_space=space)
    got = capture(model, [ids], plan)
    assert got.scores is not None
    assert got.manifest["score_space"] == space
    return got.scores[0, 0].transpose(0, 1)


def softmax_input(model: Any, ids: list[int]) -> Tensor:
    return eager_oracle.softmax_inputs(model, ids)[0].scores.nan_to_num(0.0)


def assert_same(got: Tensor, want: Tensor) -> None:
    largest = want.abs().amax(-1, keepdim=True).clamp(min=1.0)
    assert ((got - want).abs() / largest).max() <= EXACT


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in NO_RAW])
def test_raw_scores_are_what_a_model_without_scaling_feeds_its_softmax(name: str) -> None:
    model, ids = tiny_families.build(name), tiny_families.prompts(name)[1]
    raw = in_space(model, ids, "raw")
    if name == "gpt_neo":
        assert_same(raw, softmax_input(model, ids))
    elif name == "gemma2":
        with without(name, "scaling") as changed:
            assert_same(6.0 * torch.tanh(raw / 6.0), softmax_input(changed, ids))
    elif name == "falcon_alibi":
        with without(name, "alibi") as changed:
            assert_same(raw * 8**-0.5, softmax_input(changed, ids))
    else:
        with without(name, "scaling") as changed:
            assert_same(raw, softmax_input(changed, ids))
            assert (raw - softmax_input(model, ids)).abs().max() > 1


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("bloom", "mpt")])
def test_scaled_scores_come_before_softcap_and_bias(name: str) -> None:
    model, ids = tiny_families.build(name), tiny_families.prompts(name)[1]
    scaled = in_space(model, ids, "scaled")
    missing = {"gemma2": "softcap", "falcon_alibi": "alibi"}.get(name)
    if missing is None:
        assert_same(scaled, softmax_input(model, ids))
    else:
        with without(name, missing) as changed:
            assert_same(scaled, softmax_input(changed, ids))
        assert (scaled - softmax_input(model, ids)).abs().max() > 0.5


def test_softcapped_scores_are_the_input_of_gemmas_softmax() -> None:
    model, ids = tiny_families.build("gemma2"), tiny_families.prompts("gemma2")[1]
    assert_same(in_space(model, ids, "softcapped"), softmax_input(model, ids))
    assert_same(in_space(model, ids, "softcapped"), 6.0 * torch.tanh(in_space(model, ids, "scaled") / 6.0))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_space_that_a_family_cannot_give_is_refused(name: str) -> None:
    model, ids = tiny_families.build(name), tiny_families.prompts(name)[0]
    given = set(resolve_family(model.config).score_spaces)
    if name != "gemma2":
        given.discard("softcapped")
    for space in {"raw", "scaled", "softcapped"} - given:
        with pytest.raises(UserError, match=rf"cannot give scores in the space '{space}': use softmax_input"):
            in_space(model, ids, space)


def test_falcon_run_eagerly_gives_no_raw_scores() -> None:
    model: Any = tiny_families.fresh("falcon")
    model.config._attn_implementation = "eager"
    for layer in eager_oracle.decoder_layers(model):
        attention: Any = layer.get_submodule("self_attention")
        attention.config._attn_implementation = "eager"
    with pytest.raises(UserError, match="sdpa"):
        in_space(model, tiny_families.prompts("falcon")[0], "raw")


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(ValueError, match="score_space"):
        CapturePlan(score_space="logits")  # type: ignore[arg-type]
