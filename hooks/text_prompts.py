"""Prompts given as text or as token ids, made into the prompt set that captures run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..models.loading import LanguageModel
from ..tasks.prompts import PromptSet


def as_prompt_set(model: LanguageModel, prompts: Any) -> PromptSet:
    """Return prompts as a `PromptSet`, texts tokenised with the model's tokenizer.

    A begin-of-sequence token that all prompts start with becomes the prefix, so that the columns of the query
    do not hold it.

    Raises:
        UserError: If there is no prompt, one is empty, or it is neither text nor token ids.
    """
    if isinstance(prompts, PromptSet):
        return prompts
    if isinstance(prompts, str):
        prompts = [prompts]
    ids = [_token_ids(model, prompt) for prompt in prompts]
    if not ids:
        raise UserError("there are no prompts to run: give at least one text or list of token ids")
    bos = model.module.config.get_text_config().bos_token_id
    if bos is not None and all(len(prompt) > 1 and prompt[0] == bos for prompt in ids):
        return PromptSet((bos,), tuple(prompt[1:] for prompt in ids), (), (), 1)
    return PromptSet((), tuple(ids), (), (), 0)


def _token_ids(model: LanguageModel, prompt: str | Sequence[int]) -> tuple[int, ...]:
    if isinstance(prompt, str):
        ids = tuple(model.require_tokenizer()(prompt)["input_ids"])  # type: ignore[arg-type]
    else:
        try:
            ids = tuple(int(token) for token in prompt)
        except (TypeError, ValueError) as error:
            raise UserError(f"prompt {prompt!r} is neither a text nor a list of token ids") from error
    if not ids:
        raise UserError(f"prompt {prompt!r} has no tokens")
    return ids
