"""Prompts given as text or as token ids, made into the prompt set that captures run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UserError, shown
from ..models.loading import LanguageModel
from ..tasks.encoding import TokenIds, begin_of_sequence, encode_whole
from ..tasks.prompts import PromptSet


def as_prompt_set(model: LanguageModel, prompts: Any) -> PromptSet:
    """Return prompts as a `PromptSet`, texts tokenised with the model's tokenizer.

    Texts get the begin-of-sequence token that the tokenizer puts in front, unless they begin with it, and nothing
    that it would put at the end. Where all prompts start with it, it becomes the prefix, so that the columns of the
    query do not hold it.

    Raises:
        UserError: If there is no prompt, one is empty, or it is neither text nor token ids.
    """
    if isinstance(prompts, PromptSet):
        return prompts
    if isinstance(prompts, str):
        prompts = [prompts]
    prompts = list(prompts)
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    encoded = iter(encode_whole(model.require_tokenizer(), texts)[0] if texts else ())
    ids = [next(encoded) if isinstance(prompt, str) else _token_ids(prompt) for prompt in prompts]
    if not ids:
        raise UserError("there are no prompts to run: give at least one text or list of token ids")
    empty = next((number for number, own in enumerate(ids) if not own), None)
    if empty is not None:
        raise UserError(f"prompt {empty}, counted from 0, has no tokens: give it some text")
    bos = begin_token(model)
    if bos is not None and all(len(prompt) > 1 and prompt[0] == bos for prompt in ids):
        return PromptSet((bos,), tuple(prompt[1:] for prompt in ids), (), (), 1)
    return PromptSet((), tuple(ids), (), (), 0)


def begin_token(model: LanguageModel) -> int | None:
    """Return the begin-of-sequence token of a model's prompts, or None where they begin without one.

    It is what the tokenizer puts in front of texts, whatever the configuration names: XGLM's tokenizer puts the
    end-of-sequence token there, GPT-2's and CodeGen's nothing. The configuration is asked only of a model that has
    no tokenizer.

    Raises:
        UserError: If the tokenizer puts several tokens in front.
    """
    if model.tokenizer is None:
        return model.module.config.get_text_config().bos_token_id
    front = begin_of_sequence(model.tokenizer)
    return front[0] if front else None


def _token_ids(prompt: Sequence[int]) -> TokenIds:
    try:
        return tuple(int(token) for token in prompt)
    except (TypeError, ValueError) as error:
        raise UserError(f"prompt {shown(prompt)} is neither a text nor a list of token ids") from error
