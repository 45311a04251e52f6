"""Giving every update to the zero-shot run of every query: the answers of one draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.last_token import LastToken, RowWrite, last_token
from ...hooks.next_token import stream_next_token
from ...hooks.plan import Site
from ...hooks.prompt_run import NextToken
from ...models.loading import LanguageModel
from ...probes.transfer import vocabulary_divergence
from ...progress import Progress
from ...study.names import NO_UPDATE, OWN_ICL
from ..cell import Cell
from .config import TransferConfig
from .places import Patch
from .updates import Update, Updates

_ByQuery = Mapping[tuple[str, str | None], Update]


@dataclass(frozen=True, eq=False)
class PatchedAnswers:
    """What the zero-shot run answers to N queries once updates are given to it; K patches.

    Attributes:
        patches: Which, K.
        logprobs: Log-probability of each label option, ``[N, K, C]``; NaN where the update is undefined.
        vocabulary_kl: KL divergence from ICL over the vocabulary, ``[N, K]``.
        zero_shot: Label log-probabilities of the zero-shot run in the same batches, ``[N, C]``.
        zero_shot_kl: Its KL divergence from ICL over the vocabulary, ``[N]``.
        unchanged: Rows with alpha 0, and how many of them are the zero-shot run bit for bit.
    """

    patches: tuple[Patch, ...]
    logprobs: Tensor
    vocabulary_kl: Tensor
    zero_shot: Tensor
    zero_shot_kl: Tensor
    unchanged: tuple[int, int]


def run_patched(
    config: TransferConfig,
    model: LanguageModel,
    cell: Cell,
    patches: Sequence[Patch],
    updates: Mapping[Site, Updates],
    layers: Sequence[int],
) -> PatchedAnswers:
    """Run every patch of every query of one draw.

    Args:
        config: What is asked.
        model: The model, which holds its own weights.
        cell: The draw.
        patches: The rows of every query.
        updates: The updates at each site.
        layers: The layers that updates have, in their order.

    Raises:
        UserError: If something cannot be written, or logits are no numbers.
    """
    prompts = cell.prompts.zero_shot
    options = len(prompts.label_ids[0])
    logprobs = torch.full((prompts.n, len(patches), options), torch.nan)
    divergence = torch.full((prompts.n, len(patches)), torch.nan)
    zero_shot, zero_shot_kl = torch.zeros(prompts.n, options), torch.zeros(prompts.n)
    asked = same = 0
    in_context = stream_next_token(
        model, cell.prompts.icl, batch_size=config.batch_size, scoring=config.scoring
    )
    with Progress("transfer", prompts.n, "queries") as bar:
        for indices, said in in_context:
            for place, query in enumerate(indices.tolist()):
                of_query = {site: each.of(query) for site, each in updates.items()}
                ids, labels = prompts.full_ids(query), prompts.label_ids[query]
                with last_token(model, ids, labels, config.scoring) as token:
                    for rows, answer in _runs(token, patches, of_query, layers):
                        kl = vocabulary_divergence(said.logprobs[place], answer.logprobs).cpu()
                        assert answer.label_logprobs is not None
                        zero_shot[query], zero_shot_kl[query] = answer.label_logprobs[0], kl[0]
                        logprobs[query, rows] = answer.label_logprobs[1:]
                        divergence[query, rows] = kl[1:]
                        for row, patch in enumerate(rows, start=1):
                            if patches[patch].alpha == 0:
                                asked += 1
                                same += torch.equal(answer.logprobs[row], answer.logprobs[0])
                bar.update()
    return PatchedAnswers(tuple(patches), logprobs, divergence, zero_shot, zero_shot_kl, (asked, same))


def _runs(
    token: LastToken, patches: Sequence[Patch], updates: Mapping[Site, _ByQuery], layers: Sequence[int]
) -> Iterator[tuple[list[int], NextToken]]:
    """Yield batches of one query's patches: which of them rows 1 and on are, and what comes next behind each row."""
    places = {layer: place for place, layer in enumerate(layers)}
    defined = [index for index, patch in enumerate(patches) if _is_defined(patch, updates, places)]
    batches = max(1, math.ceil(len(defined) / (token.most_rows - 1)))
    size = max(1, math.ceil(len(defined) / batches))
    for start in range(0, max(1, len(defined)), size):
        chosen = defined[start : start + size]
        steps: dict[tuple[Site, int], list[tuple[int, Tensor]]] = {}
        for row, index in enumerate(chosen, start=1):
            patch = patches[index]
            update = _update(patch, updates)
            for layer in patch.place.layers:
                step = patch.alpha * update.step[places[layer]]
                steps.setdefault((patch.place.site, layer), []).append((row, step))
        writes = [
            RowWrite(
                site,
                layer,
                torch.tensor([row for row, _ in found]),
                torch.stack([step for _, step in found]).float(),
            )
            for (site, layer), found in steps.items()
        ]
        yield chosen, token.run(len(chosen) + 1, writes)


def _update(patch: Patch, updates: Mapping[Site, _ByQuery]) -> Update:
    of_site = updates[patch.place.site]
    # Nothing of an update is what is written where there is none.
    return of_site[(OWN_ICL, None) if patch.update == NO_UPDATE else (patch.update, patch.recipe)]


def _is_defined(patch: Patch, updates: Mapping[Site, _ByQuery], places: Mapping[int, int]) -> bool:
    defined = _update(patch, updates).defined
    return patch.update == NO_UPDATE or any(bool(defined[places[layer]]) for layer in patch.place.layers)
