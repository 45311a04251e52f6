"""Models with layers of other kinds between: the state that these keep reaches no other prompt."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import torch
from decoders_hybrid import HYBRID

from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.self_check import self_check
from iclprobe.tasks.prompts import PromptSet

OPTIONS = ((5, 6, 7), (5, 6, 8), (5,), (9, 6, 7, 8))
every_hybrid = pytest.mark.parametrize("name", list(HYBRID))


@every_hybrid
def test_the_self_check_holds(name: str) -> None:
    result = self_check(tiny_decoders.build(name))
    assert result.held, result.lines()


@every_hybrid
def test_what_comes_next_and_labels_of_several_tokens_are_scored_as_in_a_text_alone(name: str) -> None:
    model: Any = tiny_decoders.build(name)

    def logprobs(text: tuple[int, ...]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([text]), use_cache=False).logits[0].log_softmax(-1)

    prompts = tiny_decoders.prompts(name)
    prompt_set = PromptSet(
        tiny_decoders.prefix(name), prompts, (OPTIONS,) * len(prompts), (0,) * len(prompts)
    )
    got: Any = capture(model, prompt_set, CapturePlan(sites=("attention_output",)), batch_size=2)
    assert got.manifest["prefix_shared"] is False
    for index in range(len(prompts)):
        whole = prompt_set.full_ids(index)
        assert got.top_logprobs[index].tolist() == pytest.approx(
            logprobs(whole)[-1].topk(10).values.tolist(), abs=2e-4
        )
        for option, ids in enumerate(OPTIONS):
            each = logprobs(whole + ids)[len(whole) - 1 : -1]
            want = sum(each[step, token].item() for step, token in enumerate(ids)) / len(ids)
            assert got.label_logprobs[index, option].item() == pytest.approx(want, abs=2e-4)
