"""A made model in which one direction of what attention adds decides the answer, and another one is only there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iclprobe.analyses.cell import Cell
from iclprobe.analyses.transfer.config import TransferConfig
from iclprobe.analyses.transfer.patched import PatchedAnswers, run_patched
from iclprobe.analyses.transfer.places import patches_of, places_of
from iclprobe.analyses.transfer.settings import Settings
from iclprobe.analyses.transfer.updates import Updates
from iclprobe.hooks.capture import capture
from iclprobe.hooks.captured import Capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.probes import Floors, closed
from iclprobe.study.names import (
    ALL_ATTENTION,
    ALONG,
    GAUSSIAN_ALONG,
    OWN_FT,
    OWN_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
)
from iclprobe.tasks.prompt_set import TrainingSequence
from iclprobe.tasks.prompts import PromptSet, TaskPrompts

WIDTH, TOKENS = 16, 24
CONSTANT, CONTENT, CAUSE, IDLE = 0, 1, 2, 3
YES, NO = 1, 2


def _model() -> LanguageModel:
    """One layer that adds the mean content of all tokens to two directions, of which the answer is read off one."""
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=WIDTH,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        bos_token_id=0,
        eos_token_id=3,
    )
    module: Any = LlamaForCausalLM(config).eval()
    content = torch.linspace(-1, 1, TOKENS)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        embedding, layer = module.model.embed_tokens.weight, module.model.layers[0]
        # Nearly all of a token's length, so that no norm tells of anything else.
        embedding[:, CONSTANT] = 40
        embedding[:, CONTENT] = content
        layer.self_attn.v_proj.weight[0, CONTENT] = 1
        layer.self_attn.o_proj.weight[CAUSE, 0] = 20
        layer.self_attn.o_proj.weight[IDLE, 0] = 40
        module.lm_head.weight[YES, CAUSE], module.lm_head.weight[NO, CAUSE] = 5, -5
    return load_model(module)


def _cell() -> Cell:
    generator = torch.Generator().manual_seed(0)
    queries = tuple(
        tuple(torch.randint(4, TOKENS, (length,), generator=generator).tolist())
        for length in (5, 8, 6, 7, 9, 5)
    )
    labels, gold = (((YES,), (NO,)),) * len(queries), (0,) * len(queries)
    prompts = TaskPrompts(
        zero_shot=PromptSet((), queries, labels, gold),
        icl=PromptSet((22, 23, 21, 23, 22), queries, labels, gold),
        training=(TrainingSequence((5, 6, YES), 2),),
        demonstrations_used=1,
        demonstrations_asked=1,
        query_indices=tuple(range(len(queries))),
        queries_skipped=0,
        separator_unknown=False,
    )
    return Cell(0, (), prompts.query_indices, prompts)


def _moved(setting: Capture, direction: int) -> Capture:
    """What a finetuned model would leave that moves one direction alone."""
    step = torch.zeros(WIDTH)
    step[direction] = 0.1
    assert setting.attention_output is not None and setting.residual is not None
    return replace(
        setting, attention_output=setting.attention_output + step, residual=setting.residual + step
    )


@pytest.fixture(scope="module")
def answers() -> tuple[PatchedAnswers, torch.Tensor]:
    model, cell = _model(), _cell()
    config = TransferConfig(alphas=(0, 1), device="cpu")
    plan = CapturePlan(sites=config.captured_sites)
    zero_shot, icl = (capture(model, each, plan) for each in (cell.prompts.zero_shot, cell.prompts.icl))
    finetuned = {"cause": _moved(zero_shot, CAUSE), "idle": _moved(zero_shot, IDLE), "same": zero_shot}
    settings = Settings(zero_shot, icl, finetuned, {}, Floors.of(torch.float32))
    updates: Any = {site: Updates(settings, site, 0) for site in config.captured_sites}
    patches = patches_of(places_of(config, model), tuple(finetuned))
    assert icl.label_logprobs is not None
    return run_patched(config, model, cell, patches, updates), icl.label_logprobs


def _closed(
    answers: tuple[PatchedAnswers, torch.Tensor], place: str, update: str, recipe: str | None
) -> float:
    given, icl = answers
    index = next(
        index
        for index, patch in enumerate(given.patches)
        if (patch.place.name, patch.update, patch.recipe, patch.alpha) == (place, update, recipe, 1.0)
    )
    return float(closed(given.logprobs[:, index], given.zero_shot, icl)[0].estimate)


@pytest.mark.parametrize("place", [ALL_ATTENTION, RESIDUAL_STREAM])
def test_the_one_cause_is_found_and_its_complement_does_nothing(answers: Any, place: str) -> None:
    assert _closed(answers, place, OWN_ICL, None) == pytest.approx(1, abs=1e-4)
    assert _closed(answers, place, ALONG, "cause") == pytest.approx(1, abs=0.02)
    assert _closed(answers, place, REMAINDER, "cause") == pytest.approx(0, abs=0.02)
    assert abs(_closed(answers, place, GAUSSIAN_ALONG, "cause")) < 0.7


@pytest.mark.parametrize("place", [ALL_ATTENTION, RESIDUAL_STREAM])
def test_what_is_longer_and_decides_nothing_closes_nothing(answers: Any, place: str) -> None:
    """Its cosine with the ICL update is .89, that of the cause .45."""
    assert _closed(answers, place, ALONG, "idle") == pytest.approx(0, abs=0.02)
    assert _closed(answers, place, REMAINDER, "idle") == pytest.approx(1, abs=0.02)
    assert abs(_closed(answers, place, OWN_FT, "idle")) < 0.02


@pytest.mark.parametrize("place", [ALL_ATTENTION, RESIDUAL_STREAM])
def test_a_finetuned_model_that_is_the_zero_shot_one_gives_undefined(answers: Any, place: str) -> None:
    for update in (OWN_FT, ALONG, REMAINDER, GAUSSIAN_ALONG):
        value = _closed(answers, place, update, "same")
        assert value != value
