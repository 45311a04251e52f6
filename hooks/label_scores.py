"""How probable each label option is behind a prompt, over its whole continuation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.loading import LanguageModel
from ..models.rotation import rotation_of
from ..tasks.prompt_set import TokenIds
from .batching import choose_batch_size, make_batches
from .forward import Forward, pad
from .prefix import fork
from .scoring import Scoring


@dataclass(frozen=True)
class LabelScores:
    """Scores of the C label options of each prompt.

    Attributes:
        logprobs: Log-probability of each option, ``[B, C]``: per token, summed, or of its first token.
        is_argmax: Whether each token of the option is the argmax over the vocabulary, the option's earlier
            tokens given, ``[B, C]``.
    """

    logprobs: Tensor
    is_argmax: Tensor


def score_labels(
    model: LanguageModel,
    next_token: Tensor,
    labels: Sequence[Sequence[TokenIds]],
    prompts: Sequence[TokenIds],
    cache: Any,
    exists: Tensor,
    scoring: Scoring = "mean",
    *,
    forward: Forward,
) -> LabelScores:
    """Score every option by the log-probability of its continuation.

    The prompt's keys and values are used again where that gives what the whole text gives. It does not where the
    model keeps more of a prompt than these, or rotates it otherwise once the label stands behind it; then prompt and
    label run as one text.

    Args:
        model: The model.
        next_token: Log-probabilities behind the prompt, ``[B, V]``.
        labels: For each prompt the token ids of each option, ``B x C``.
        prompts: The whole prompts, ``B``.
        cache: The prompts' keys and values; None where they cannot be used again.
        exists: Which cached tokens are real, ``[B, T]``.
        scoring: ``mean`` per token as in the reference code, ``sum``, or the ``first`` token alone.
        forward: What runs the further tokens.
    """
    best = next_token.argmax(dim=-1)
    columns = []
    for option in zip(*labels, strict=True):
        first = torch.tensor([ids[0] for ids in option], device=next_token.device)
        logprob = next_token.gather(1, first[:, None])[:, 0]
        is_argmax = first == best
        if max(len(ids) for ids in option) > 1:
            if cache is not None and _rotated_alike(model, prompts, option):
                following, following_is_argmax = _score_continuation(forward, option, cache, exists)
                total, is_argmax = logprob + following, is_argmax & following_is_argmax
            else:
                total, is_argmax = _score_whole(model, forward, prompts, option)
            if scoring != "first":
                logprob = total
            if scoring == "mean":
                logprob = logprob / torch.tensor([len(ids) for ids in option], device=logprob.device)
        columns.append((logprob.cpu(), is_argmax.cpu()))
    return LabelScores(
        torch.stack([logprob for logprob, _ in columns], dim=1),
        torch.stack([is_argmax for _, is_argmax in columns], dim=1),
    )


def _rotated_alike(model: LanguageModel, prompts: Sequence[TokenIds], option: Sequence[TokenIds]) -> bool:
    rotation = rotation_of(model)
    return all(
        rotation.alike([len(prompt), len(prompt) + len(ids)])
        for prompt, ids in zip(prompts, option, strict=True)
    )


def _score_continuation(
    forward: Forward, option: Sequence[TokenIds], cache: Any, exists: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the summed log-probability of an option's second to last tokens, and whether all are argmax."""
    tokens, counts = pad([ids[:-1] for ids in option])
    output = forward(tokens, torch.cat([exists, counts], dim=1), cache=fork(cache))
    return _sum_up(output.logits, pad([ids[1:] for ids in option])[0], counts)


def _score_whole(
    model: LanguageModel, forward: Forward, prompts: Sequence[TokenIds], option: Sequence[TokenIds]
) -> tuple[Tensor, Tensor]:
    """Return the summed log-probability of an option's tokens, and whether all are argmax, in whole texts."""
    texts = [prompt + ids for prompt, ids in zip(prompts, option, strict=True)]
    lengths = [len(text) for text in texts]
    rotation = rotation_of(model)
    sums: dict[int, tuple[Tensor, Tensor]] = {}
    for batch in make_batches(
        lengths,
        choose_batch_size(model, max(lengths), 0),
        equal_lengths=not model.family.pads,
        kinds=[rotation.regime(length) for length in lengths],
    ):
        chosen = batch.tolist()
        targets, counts = pad([option[index] for index in chosen])
        steps = torch.arange(targets.shape[1])
        # Padding of a shorter option looks at the last place that there is.
        places = torch.stack(
            [(len(prompts[index]) - 1 + steps).clamp(max=lengths[index] - 1) for index in chosen]
        )
        output = forward(*pad([texts[index] for index in chosen]), keep_logits=places)
        sums.update(zip(chosen, zip(*_sum_up(output.logits, targets, counts), strict=True), strict=True))
    ordered = [sums[index] for index in range(len(texts))]
    return torch.stack([total for total, _ in ordered]), torch.stack([hit for _, hit in ordered])


def _sum_up(logits: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed log-probability of the tokens that count, and whether each of them is the argmax.

    Args:
        logits: ``[B, S, V]``.
        targets: What is said there, ``[B, S]``.
        counts: Which of it counts, ``[B, S]``.
    """
    logits = logits.float()
    targets, counts = targets.to(logits.device), counts.to(logits.device)
    logprobs = torch.log_softmax(logits, dim=-1).gather(2, targets[..., None])[..., 0]
    hits = (logits.argmax(dim=-1) == targets) | ~counts
    return (logprobs * counts).sum(dim=1), hits.all(dim=1)
