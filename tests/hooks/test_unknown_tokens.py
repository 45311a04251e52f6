"""Token ids that a model has no embedding for end in a sentence, wherever they come from."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.next_token import stream_next_token
from iclprobe.hooks.repeated_queries import RepeatedQueries
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe
from iclprobe.tasks.prompt_set import PromptSet, TrainingSequence

MODEL: Any = tiny_families.build("llama")
KNOWN = tiny_families.VOCABULARY


@pytest.mark.parametrize("token", [KNOWN, KNOWN + 1000, -1])
def test_tokens_of_prompts_prefixes_and_labels(token: int) -> None:
    sets = [
        PromptSet((), ((3, token),)),
        PromptSet((3, token), ((4,),)),
        PromptSet((), ((3,),), (((5,), (6, token)),), (0,)),
    ]
    for prompts in sets:
        for ask in (
            lambda prompts=prompts: iclprobe.capture(MODEL, prompts),
            lambda prompts=prompts: list(stream_next_token(MODEL, prompts)),
            lambda prompts=prompts: RepeatedQueries(load_model(MODEL), prompts),
        ):
            with pytest.raises(UserError, match=rf"the token {token} .* knows {KNOWN} tokens"):
                ask()
    with pytest.raises(UserError, match=rf"the token {token} "):
        iclprobe.capture(MODEL, [[3, 4], [5, token]])
    with pytest.raises(UserError, match=rf"a training sequence has the token {token} "):
        sequences = [TrainingSequence((3, token, 5), 2)]
        finetune(load_model(MODEL), sequences, Recipe(optimizer="sgd"), learning_rate=1e-3, seed=0)


def test_a_token_that_was_added_without_a_row() -> None:
    model = iclprobe.load_model("pocket")
    tokenizer: Any = model.require_tokenizer()
    tokenizer.add_tokens(["<made>"])
    with pytest.raises(UserError, match="resize_token_embeddings"):
        iclprobe.capture(model, ["the <made> cake"])
    model.module.resize_token_embeddings(len(tokenizer))
    assert iclprobe.capture(model, ["the <made> cake"]).n == 1
