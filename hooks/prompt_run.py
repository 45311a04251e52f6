"""Running prompts batch by batch behind a shared prefix: what capturing and plain answering have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..models.loading import LanguageModel
from ..models.rotation import rotation_of
from ..models.token_ids import require_known_tokens
from ..tasks.prompts import PromptSet
from .batching import choose_batch_size, make_batches
from .forward import Forward, pad, run_forward
from .label_scores import score_labels
from .prefix import Prefix, cache_of, can_fork, encode_prefix, fork
from .scoring import Scoring


@dataclass(frozen=True)
class PromptRun:
    """Everything that all batches of one run share.

    Attributes:
        model: The model.
        prompts: What it is given.
        prefix: Keys and values of the prefix; None where every prompt runs whole.
        scoring: How label words of several tokens are scored.
        first_label: Whether the first option's first label token stands behind every prompt.
        forward: What runs the model.
    """

    model: LanguageModel
    prompts: PromptSet
    prefix: Prefix | None
    scoring: Scoring
    first_label: bool
    forward: Forward

    @property
    def lead(self) -> tuple[int, ...]:
        """Prefix tokens that run in front of every query because no cache holds them."""
        return () if self.prefix is not None else self.prompts.prefix_ids

    @property
    def past(self) -> int:
        """Prefix tokens that a cache holds."""
        return len(self.prompts.prefix_ids) - len(self.lead)

    @property
    def copied(self) -> int:
        """Prefix tokens whose keys and values every query gets a copy of."""
        return self.past if self.prefix is not None and self.prefix.copied else 0

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
    forward: Forward | None = None,
    apart: bool = True,
) -> PromptRun:
    """Run the shared prefix, if there is one worth sharing.

    Args:
        model: The model.
        prompts: What it is given.
        share_prefix: Whether to share it.
        scoring: How label words of several tokens are scored.
        first_label: Whether the first option's first label token stands behind every prompt.
        forward: What runs the model; its own module, if nothing is said.
        apart: Whether queries may attend to the prefix and to their own tokens apart; only our own attention does.

    Raises:
        UserError: If a prompt does not fit the model's context window, or has a token that the model does not know.
    """
    limit = model.context_length
    if limit is not None and prompts.longest > limit:
        raise UserError(
            f"a prompt of {prompts.longest} tokens does not fit the context window of {shown(model.name)} ({limit} "
            "tokens): use fewer shots, or leave out long records with --max-record-tokens"
        )
    present = {*prompts.prefix_ids, *chain(*prompts.query_ids), *chain(*chain(*prompts.label_ids))}
    require_known_tokens(model, present, "a prompt, or a label word,")
    # A lone begin-of-sequence token is not worth a cache, and zero-shot prompts stay plain forwards.
    shared = share_prefix and len(prompts.prefix_ids) > prompts.bos_length
    if shared:
        # Keys that were rotated for a short text do not serve in a long one.
        own = [len(prompts.full_ids(index)) for index in range(prompts.n)]
        running = [length + first_label for length in own]
        shared = rotation_of(model).alike([len(prompts.prefix_ids), *own, *running])
    prefix = encode_prefix(model, prompts.prefix_ids, apart=apart) if shared else None
    return PromptRun(model, prompts, prefix, scoring, first_label, forward or partial(run_forward, model))


def batches_of(run: PromptRun, batch_size: int | str, forms_scores: bool = False) -> list[Tensor]:
    """Return the indices of the prompts of each batch.

    Args:
        run: The run.
        batch_size: Prompts at once, or ``auto``.
        forms_scores: Whether what runs the model forms every score, which ``auto`` makes room for.

    Raises:
        UserError: If the batch size is neither ``auto`` nor a number of at least 1.
    """
    lengths = [len(run.lead) + len(ids) for ids in run.prompts.query_ids]
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise UserError(f"batch size {shown(batch_size)} is neither auto nor a number")
        batch_size = choose_batch_size(run.model, max(lengths), run.copied, forms_scores)
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is below 1")
    # Behind a padded prompt a window that counts cached tokens would lose real ones.
    equal = not run.model.family.pads or (run.continues and has_window(run.model))
    rotation = rotation_of(run.model)
    kinds = [
        (rotation.regime(run.past + length), rotation.regime(run.past + length + run.first_label))
        for length in lengths
    ]
    return make_batches(lengths, batch_size, equal_lengths=equal, kinds=kinds)


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


def answer_batch(run: PromptRun, batch: PromptBatch, forward: Forward | None = None) -> NextToken:
    """Run one batch and return what comes next behind every prompt.

    Args:
        run: The run.
        batch: A batch of it.
        forward: What runs the prompts, once; further tokens of label words are the run's.
    """
    exists = batch.everything
    output = _run_prompts(run, forward or run.forward, batch.tokens, exists, batch.last)
    if run.first_label and (run.continues or not _rotated_as_alone(run, batch)):
        # The forward held a label token; what comes next stands behind the prompt without it.
        tokens, own = pad([run.tokens_of(int(index), with_label=False) for index in batch.indices])
        exists = _behind_prefix(run, own)
        output = _run_prompts(run, run.forward, tokens, exists, batch.last)
    logprobs = torch.log_softmax(output.logits[:, 0].float(), dim=-1)
    if not run.prompts.label_ids:
        return NextToken(logprobs)
    cache = cache_of(output)
    indices = batch.indices.tolist()
    scores = score_labels(
        run.model,
        logprobs,
        [run.prompts.label_ids[index] for index in indices],
        [run.prompts.full_ids(index) for index in indices],
        cache if can_fork(cache) else None,
        exists,
        run.scoring,
        forward=run.forward,
    )
    return NextToken(logprobs, scores.logprobs, scores.is_argmax)


def _run_prompts(run: PromptRun, forward: Forward, tokens: Tensor, everything: Tensor, last: Tensor) -> Any:
    """Run prompts behind the shared prefix; the logits returned are those of the last tokens, ``[B, 1, V]``."""
    return forward(
        tokens,
        everything,
        cache=None if run.prefix is None else fork(run.prefix.cache, len(tokens)),
        use_cache=run.continues,
        keep_logits=last[:, None],
    )


def _rotated_as_alone(run: PromptRun, batch: PromptBatch) -> bool:
    """Tell whether prompts with a label token behind them are rotated as they are without it."""
    rotation = rotation_of(run.model)
    return all(rotation.alike([length - 1, length]) for length in batch.everything.sum(dim=1).tolist())


def _behind_prefix(run: PromptRun, exists: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(exists), run.past, dtype=torch.bool), exists], dim=1)
