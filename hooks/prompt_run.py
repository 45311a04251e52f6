"""Running prompts batch by batch behind a shared prefix: what capturing and plain answering have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.loading import LanguageModel
from ..tasks.prompts import PromptSet
from .batching import choose_batch_size, make_batches
from .forward import run_forward
from .label_scores import LabelScores, Scoring, score_labels
from .prefix import encode_prefix, fork


@dataclass(frozen=True)
class PromptRun:
    """Everything that all batches of one run share.

    Attributes:
        model: The model.
        prompts: What it is given.
        prefix_cache: Keys and values of the prefix; None where every prompt runs whole.
        scoring: How label words of several tokens are scored.
        first_label: Whether the first option's first label token stands behind every prompt.
    """

    model: LanguageModel
    prompts: PromptSet
    prefix_cache: Any
    scoring: Scoring
    first_label: bool = False

    @property
    def lead(self) -> tuple[int, ...]:
        """Prefix tokens that run in front of every query because no cache holds them."""
        return () if self.prefix_cache is not None else self.prompts.prefix_ids

    @property
    def past(self) -> int:
        """Prefix tokens that a cache holds."""
        return len(self.prompts.prefix_ids) - len(self.lead)

    @property
    def continues(self) -> bool:
        """Whether label words of several tokens need the prompts' keys and values."""
        return any(len(ids) > 1 for options in self.prompts.label_ids for ids in options)

    def tokens_of(self, index: int, with_label: bool) -> tuple[int, ...]:
        """Return the tokens that run for one query."""
        label = self.prompts.label_ids[index][0][:1] if with_label else ()
        return self.lead + self.prompts.query_ids[index] + label


@dataclass(frozen=True)
class PromptBatch:
    """One padded batch.

    Attributes:
        indices: Which prompts, ``[B]``.
        tokens: What runs, ``[B, S]``.
        exists: Which of these tokens are real, ``[B, S]``.
        everything: The same with the cached prefix in front, ``[B, past + S]``.
        last: Index of each prompt's last token, ``[B]``.
    """

    indices: Tensor
    tokens: Tensor
    exists: Tensor
    everything: Tensor
    last: Tensor


@dataclass(frozen=True)
class NextToken:
    """What a model says next behind the prompts of a batch.

    Attributes:
        logprobs: Log-probability of every token of the vocabulary, fp32 on the model's device, ``[B, V]``.
        label_logprobs: Log-probability of each label option, ``[B, C]``; None for prompts without labels.
        label_is_argmax: Whether every token of the option is the argmax of the vocabulary, ``[B, C]``.
    """

    logprobs: Tensor
    label_logprobs: Tensor | None = None
    label_is_argmax: Tensor | None = None

    @property
    def prediction(self) -> Tensor:
        """The label option with the highest score, ``[B]``; the lower option on a tie.

        Raises:
            UserError: If the prompts carry no labels.
        """
        if self.label_logprobs is None:
            raise UserError("these prompts carry no label words: build them from a task to have predictions")
        return self.label_logprobs.argmax(dim=1)


def prepare_run(
    model: LanguageModel,
    prompts: PromptSet,
    *,
    share_prefix: bool,
    scoring: Scoring,
    first_label: bool = False,
) -> PromptRun:
    """Run the shared prefix, if there is one worth sharing.

    Raises:
        UserError: If a prompt does not fit the model's context window.
    """
    limit = model.context_length
    if limit is not None and prompts.longest > limit:
        raise UserError(
            f"a prompt of {prompts.longest} tokens does not fit the context window of {model.name!r} ({limit} "
            "tokens): use fewer shots, or leave out long records with --max-record-tokens"
        )
    # A lone begin-of-sequence token is not worth a cache, and zero-shot prompts stay plain forwards.
    shared = share_prefix and len(prompts.prefix_ids) > prompts.bos_length
    cache = encode_prefix(model, prompts.prefix_ids) if shared else None
    return PromptRun(model, prompts, cache, scoring, first_label)


def batches_of(run: PromptRun, batch_size: int | str) -> list[Tensor]:
    """Return the indices of the prompts of each batch.

    Raises:
        UserError: If the batch size is neither ``auto`` nor a number of at least 1.
    """
    lengths = [len(run.lead) + len(ids) for ids in run.prompts.query_ids]
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise UserError(f"batch size {batch_size!r} is neither auto nor a number")
        batch_size = choose_batch_size(run.model, max(lengths), run.past)
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is below 1")
    # Behind a padded prompt a window that counts cached tokens would lose real ones.
    equal = not run.model.family.pads or (run.continues and has_window(run.model))
    return make_batches(lengths, batch_size, equal_lengths=equal)


def has_window(model: LanguageModel) -> bool:
    """Tell whether some layer of a model sees only a window of the latest tokens."""
    config = model.module.config.get_text_config()
    local = [
        *(getattr(config, "layer_types", None) or ()),
        *(getattr(config, "attention_layers", None) or ()),
    ]
    named = any(kind in ("sliding_attention", "local", "chunked_attention") for kind in local)
    return named or bool(getattr(config, "sliding_window", None))


def prompt_batch(run: PromptRun, indices: Tensor) -> PromptBatch:
    """Pad the prompts of a batch."""
    tokens, exists = pad([run.tokens_of(int(index), run.first_label) for index in indices])
    last = exists.sum(dim=1) - int(run.first_label) - 1
    return PromptBatch(indices, tokens, exists, _behind_prefix(run, exists), last)


def answer_batch(
    run: PromptRun, batch: PromptBatch, *, pause: Callable[[], AbstractContextManager[None]] = nullcontext
) -> NextToken:
    """Run one batch and return what comes next behind every prompt.

    Args:
        run: The run.
        batch: A batch of it.
        pause: Open while further tokens of label words run, which a recorder must not see.
    """
    cache = None if run.prefix_cache is None else fork(run.prefix_cache, len(batch.indices))
    kept, place = batch.last.unique(return_inverse=True)
    output = run_forward(
        run.model,
        batch.tokens,
        batch.everything,
        cache=cache,
        use_cache=run.continues and not run.first_label,
        keep_logits=kept,
    )
    logits = output.logits[torch.arange(len(batch.indices)), place.to(output.logits.device)].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    scores = _label_scores(run, batch, logprobs, output, pause)
    if scores is None:
        return NextToken(logprobs)
    return NextToken(logprobs, scores.logprobs, scores.is_argmax)


def _label_scores(
    run: PromptRun,
    batch: PromptBatch,
    logprobs: Tensor,
    output: Any,
    pause: Callable[[], AbstractContextManager[None]],
) -> LabelScores | None:
    if not run.prompts.label_ids:
        return None
    labels = [run.prompts.label_ids[int(index)] for index in batch.indices]
    cache, exists = getattr(output, "past_key_values", None), batch.everything
    with pause():
        if run.continues and run.first_label:
            # The forward held a label token; options continue from the prompt without it.
            tokens, own = pad([run.tokens_of(int(index), with_label=False) for index in batch.indices])
            exists = _behind_prefix(run, own)
            start = None if run.prefix_cache is None else fork(run.prefix_cache, len(batch.indices))
            cache = run_forward(run.model, tokens, exists, cache=start, use_cache=True).past_key_values
        return score_labels(run.model, logprobs, labels, cache, exists, run.scoring)


def _behind_prefix(run: PromptRun, exists: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(exists), run.past, dtype=torch.bool), exists], dim=1)


def pad(sequences: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Pad on the right; return tokens and which of them are real, ``[B, S]``."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    exists = torch.zeros_like(tokens, dtype=torch.bool)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
        exists[row, : len(ids)] = True
    return tokens, exists
