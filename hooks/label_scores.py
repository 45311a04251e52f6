"""How probable each label option is behind a prompt, over its whole continuation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..models.loading import LanguageModel
from .forward import run_forward
from .prefix import fork

Scoring = Literal["mean", "sum", "first"]


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
    labels: Sequence[Sequence[tuple[int, ...]]],
    cache: Any,
    exists: Tensor,
    scoring: Scoring = "mean",
) -> LabelScores:
    """Score every option by the log-probability of its continuation, reusing the prompt's keys and values.

    Args:
        model: The model.
        next_token: Log-probabilities behind the prompt, ``[B, V]``.
        labels: For each prompt the token ids of each option, ``B x C``.
        cache: The prompts' keys and values; None if all options are single tokens or only the first counts.
        exists: Which cached tokens are real, ``[B, T]``.
        scoring: ``mean`` per token as in the reference code, ``sum``, or the ``first`` token alone.
    """
    best = next_token.argmax(dim=-1)
    columns = []
    for option in zip(*labels, strict=True):
        first = torch.tensor([ids[0] for ids in option], device=next_token.device)
        logprob = next_token.gather(1, first[:, None])[:, 0]
        is_argmax = first == best
        if max(len(ids) for ids in option) > 1:
            following, following_is_argmax = _score_continuation(model, option, cache, exists)
            is_argmax = is_argmax & following_is_argmax
            if scoring != "first":
                logprob = logprob + following
            if scoring == "mean":
                logprob = logprob / torch.tensor([len(ids) for ids in option], device=logprob.device)
        columns.append((logprob.cpu(), is_argmax.cpu()))
    return LabelScores(
        torch.stack([logprob for logprob, _ in columns], dim=1),
        torch.stack([is_argmax for _, is_argmax in columns], dim=1),
    )


def _score_continuation(
    model: LanguageModel, option: tuple[tuple[int, ...], ...], cache: Any, exists: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the summed log-probability of an option's second to last tokens, and whether all are argmax."""
    if cache is None:
        raise UserError(
            f"model {model.name!r} keeps no keys and values to score label words of several tokens with: "
            "use label words of one token"
        )
    longest = max(len(ids) for ids in option)
    tokens = torch.zeros(len(option), longest - 1, dtype=torch.long)
    targets = torch.zeros_like(tokens)
    counts = torch.zeros_like(tokens, dtype=torch.bool)
    for row, ids in enumerate(option):
        tokens[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.tensor(ids[1:])
        counts[row, : len(ids) - 1] = True
    output = run_forward(model, tokens, torch.cat([exists, counts], dim=1), cache=fork(cache))
    logits = output.logits.float()
    targets, counts = targets.to(logits.device), counts.to(logits.device)
    logprobs = torch.log_softmax(logits, dim=-1).gather(2, targets[..., None])[..., 0]
    hits = (logits.argmax(dim=-1) == targets) | ~counts
    return (logprobs * counts).sum(dim=1), hits.all(dim=1)
