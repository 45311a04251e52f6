"""What a model says next behind each prompt, with nothing recorded on the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import UserError, shown
from ..models.exclusive_use import exclusive
from ..models.loading import LanguageModel, load_model
from ..models.token_loss import evaluation_mode
from ..progress import Progress
from .batch_probe import run_in_batches
from .prompt_run import NextToken, answer_batch, prepare_run, prompt_batch
from .scoring import Scoring
from .text_prompts import as_prompt_set

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .capture import Prompts

__all__ = ["NextToken", "stream_next_token"]


def stream_next_token(
    model: LanguageModel | PreTrainedModel,
    prompts: Prompts,
    *,
    batch_size: int | str = "auto",
    share_prefix: bool = True,
    scoring: Scoring = "mean",
    progress: str | None = None,
) -> Generator[tuple[Tensor, NextToken], None, None]:
    """Yield the next-token distributions of one batch after another, with the indices of its prompts ``[B]``.

    Memory holds one batch's distributions.

    Args:
        model: The model.
        prompts: A `PromptSet`, one text or several, or token ids of several prompts.
        batch_size: Prompts at once, or ``auto`` to size batches to memory.
        share_prefix: Whether to run the demonstrations once; False runs every full prompt.
        scoring: How label words of several tokens are scored: ``mean`` per token, ``sum`` or ``first``.
        progress: Show a progress bar of this name.

    Raises:
        UserError: If a prompt does not fit the context window or has a token that the model does not know, what it
            computes is no number, or another thread uses the model.
    """
    model = load_model(model)
    prompt_set = as_prompt_set(model, prompts)
    with exclusive(model.module, "asking for next tokens"), evaluation_mode(model.module):
        run = prepare_run(model, prompt_set, share_prefix=share_prefix, scoring=scoring)

        def answered(indices: Tensor) -> NextToken:
            return answer_batch(run, prompt_batch(run, indices))

        with Progress(progress, prompt_set.n, "prompts") as bar:
            for indices, answer in run_in_batches(run, batch_size, answered):
                if answer.logprobs.isnan().any():
                    raise UserError(
                        f"the logits of {shown(model.name)} are no numbers for some prompts: load it with "
                        "dtype=float32, or fetch it again"
                    )
                yield indices, answer
                bar.update(len(indices))
