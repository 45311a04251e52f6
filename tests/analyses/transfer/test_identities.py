"""What must hold exactly, in every kind of family: alpha 0 is zero-shot, ICL's own update ICL, finetuning's it."""

from __future__ import annotations

import pytest
import tiny_decoders
import tiny_families
from made_transfer import cell_of_ids, draw_of_ids
from torch import Tensor

from iclprobe.analyses.transfer.draw import TransferDraw
from iclprobe.study.names import ALL_ATTENTION, MEAN_FT, OWN_FT, OWN_ICL, RESIDUAL_STREAM

FAMILIES = [
    # ALiBi, windows, softcaps, sinks, parallel layers, experts, outside the attention registry.
    *("bloom", "mpt", "falcon_alibi", "gptj", "codegen", "llama_bias", "mistral", "gemma2", "gemma3_text"),
    *("gpt_oss", "phi", "cohere", "mixtral"),
]
# A position is added to the stream before the first layer, and ICL's is another one: no attention output tells of it.
LEARNED_POSITIONS = ["gpt2", "opt", "gpt_neo", "xglm"]
# Layers keep a recurrent state besides attention, so that every row is a whole prompt.
HYBRIDS = ["qwen3_next", "bamba"]
EXPERTS = ["gpt_oss", "mixtral", "qwen3_next"]


def _given(draw: TransferDraw, place: str, update: str, layer: int | None = None) -> Tensor:
    for patch, logprobs, _ in draw.given():
        asked = (patch.place.name, patch.update, patch.alpha) == (place, update, 1.0)
        if asked and layer in (None, patch.place.layer):
            return logprobs
    raise LookupError(update)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _nothing_is_nothing(name: str, draw: TransferDraw) -> None:
    rows, same = draw.answers.unchanged
    assert rows > 0 and draw.answers.largest_change < 1e-5
    # Experts are given the rows of the whole batch: others have a part in a row's roundings.
    assert same == rows or name in EXPERTS
    for patch, logprobs, kl in draw.given():
        if patch.alpha == 0:
            assert _apart(logprobs, draw.answers.zero_shot) < 1e-5
            assert _apart(kl, draw.answers.zero_shot_kl) < 1e-5


@pytest.mark.parametrize("name", FAMILIES + LEARNED_POSITIONS)
def test_an_update_of_its_own_gives_the_setting_it_comes_from(name: str) -> None:
    _, draw = draw_of_ids(tiny_families.fresh(name), cell_of_ids(name), layers=(0, -1))
    _nothing_is_nothing(name, draw)
    last, zero_shot, (finetuned,) = draw.layers[-1], draw.answers.zero_shot, draw.finetuned.values()
    assert min(_apart(zero_shot, draw.icl), _apart(zero_shot, finetuned)) > 1e-2
    assert _apart(_given(draw, RESIDUAL_STREAM, OWN_ICL, last), draw.icl) < 1e-5
    assert _apart(_given(draw, RESIDUAL_STREAM, OWN_FT, last), finetuned) < 1e-5
    assert _apart(_given(draw, ALL_ATTENTION, OWN_FT), finetuned) < 1e-5
    assert _apart(_given(draw, ALL_ATTENTION, MEAN_FT), finetuned) > 1e-4
    own = _apart(_given(draw, ALL_ATTENTION, OWN_ICL), draw.icl)
    assert own > 1e-3 if name in LEARNED_POSITIONS else own < 1e-5


@pytest.mark.parametrize("name", HYBRIDS)
def test_of_models_with_a_state_whole_prompts_run(name: str) -> None:
    model, draw = draw_of_ids(tiny_decoders.fresh(name), cell_of_ids(name), layers=(-1,))
    _nothing_is_nothing(name, draw)
    assert _apart(draw.answers.zero_shot, draw.icl) > 1e-2
    assert draw.layers[-1] == model.n_layers - 1
    assert _apart(_given(draw, RESIDUAL_STREAM, OWN_ICL, draw.layers[-1]), draw.icl) < 1e-5
