"""Giving every update to the zero-shot run of every query: the answers of one draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.last_token import LastToken, RowWrite, last_token
from ...hooks.next_token import stream_next_token
from ...hooks.plan import CapturePlan, Site
from ...hooks.prompt_run import NextToken
from ...hooks.resolved_plan import resolve_plan
from ...models.loading import LanguageModel
from ...probes.transfer import vocabulary_divergence
from ...progress import Progress
from ...study.names import NO_UPDATE, OWN_ICL
from ..cell import Cell
from .config import TransferConfig
from .places import Patch
from .updates import Update, Updates

# So many batches share what they were before anything was written, where rows are enough to fill them.
_SHARED_BY, _FEWEST_ROWS = 8, 32
_ByQuery = Mapping[tuple[str, str | None], Update]


@dataclass(frozen=True, eq=False)
class PatchedAnswers:
    """What the zero-shot run answers to N queries once updates are given to it; K patches.

    Attributes:
        patches: Which, K.
        logprobs: Log-probability of each label option, ``[N, K, C]``; NaN where the update is undefined.
        vocabulary_kl: KL divergence from ICL over the vocabulary, ``[N, K]``.
        zero_shot: Label log-probabilities of the zero-shot run in batches as large, ``[N, C]``.
        zero_shot_kl: Its KL divergence from ICL over the vocabulary, ``[N]``.
        unchanged: Rows with alpha 0, and how many of them are the zero-shot run of that row bit for bit.
        largest_change: By how much log-probabilities of labels differ in the others, at most.
    """

    patches: tuple[Patch, ...]
    logprobs: Tensor
    vocabulary_kl: Tensor
    zero_shot: Tensor
    zero_shot_kl: Tensor
    unchanged: tuple[int, int]
    largest_change: float


def run_patched(
    config: TransferConfig,
    model: LanguageModel,
    cell: Cell,
    patches: Sequence[Patch],
    updates: Mapping[Site, Updates],
) -> PatchedAnswers:
    """Run every patch of every query of one draw.

    Args:
        config: What is asked.
        model: The model, which holds its own weights.
        cell: The draw.
        patches: The rows of every query.
        updates: The updates at each site.

    Raises:
        UserError: If something cannot be written, or logits are no numbers.
    """
    prompts, plan = cell.prompts.zero_shot, CapturePlan(sites=config.captured_sites)
    options = len(prompts.label_ids[0])
    logprobs = torch.full((prompts.n, len(patches), options), torch.nan)
    divergence = torch.full((prompts.n, len(patches)), torch.nan)
    zero_shot, zero_shot_kl = torch.zeros(prompts.n, options), torch.zeros(prompts.n)
    asked = same = 0
    largest = 0.0
    in_context = stream_next_token(
        model, cell.prompts.icl, batch_size=config.batch_size, scoring=config.scoring
    )
    with Progress("transfer", prompts.n, "queries") as bar:
        for indices, said in in_context:
            for place, query in enumerate(indices.tolist()):
                of_query: dict[Site, _ByQuery] = {site: each.of(query) for site, each in updates.items()}
                ids, labels = prompts.full_ids(query), prompts.label_ids[query]
                with last_token(model, ids, labels, config.scoring) as token:
                    for rows, answer, plain in _runs(token, plan, patches, of_query):
                        kl = vocabulary_divergence(said.logprobs[place], answer.logprobs).cpu()
                        assert answer.label_logprobs is not None and plain.label_logprobs is not None
                        logprobs[query, rows] = answer.label_logprobs[: len(rows)]
                        divergence[query, rows] = kl[: len(rows)]
                        zero_shot[query] = plain.label_logprobs[0]
                        first = plain.logprobs[:1]
                        zero_shot_kl[query] = vocabulary_divergence(said.logprobs[place], first).cpu()[0]
                        for row, patch in enumerate(rows):
                            if patches[patch].alpha == 0:
                                asked += 1
                                same += torch.equal(answer.logprobs[row], plain.logprobs[row])
                                change = answer.label_logprobs[row] - plain.label_logprobs[row]
                                largest = max(largest, float(change.abs().max()))
                bar.update()
    return PatchedAnswers(
        tuple(patches), logprobs, divergence, zero_shot, zero_shot_kl, (asked, same), largest
    )


def _runs(
    token: LastToken, plan: CapturePlan, patches: Sequence[Patch], updates: Mapping[Site, _ByQuery]
) -> Iterator[tuple[list[int], NextToken, NextToken]]:
    """Yield batches of one query's patches: which they are, what comes next behind each, and behind each unpatched.

    All batches are of one size, and what is set in a row is made of what that row computes unpatched.
    """
    layers = resolve_plan(plan, token.model).layers
    places = {layer: place for place, layer in enumerate(layers)}
    defined = [index for index, patch in enumerate(patches) if _is_defined(patch, updates, places)]
    size = batch_rows(len(defined), token.most_rows)
    plain, recorded = token.record(size, plan)
    for start in range(0, len(defined), size):
        chosen = defined[start : start + size]
        values: dict[tuple[Site, int], list[tuple[int, Tensor]]] = {}
        for row, index in enumerate(chosen):
            patch = patches[index]
            site, update = patch.place.site, _update(patch, updates)
            before = getattr(recorded, site)[row]
            for layer in patch.place.layers:
                place = places[layer]
                value = before[place] + (patch.alpha * update.step[place]).float()
                values.setdefault((site, layer), []).append((row, value))
        writes = [
            RowWrite(
                site,
                layer,
                torch.tensor([row for row, _ in found]),
                torch.stack([value for _, value in found]),
            )
            for (site, layer), found in values.items()
        ]
        yield chosen, token.run(size, writes), plain


def batch_rows(rows: int, most: int) -> int:
    """Return how many rows a batch has: each is run as it is once, so that several batches share that.

    Args:
        rows: How many there are.
        most: How many fit.
    """
    batches = max(math.ceil(rows / most), min(_SHARED_BY, rows // _FEWEST_ROWS), 1)
    return max(1, math.ceil(rows / batches))


def _update(patch: Patch, updates: Mapping[Site, _ByQuery]) -> Update:
    of_site = updates[patch.place.site]
    # Nothing of an update is what is written where there is none.
    return of_site[(OWN_ICL, None) if patch.update == NO_UPDATE else (patch.update, patch.recipe)]


def _is_defined(patch: Patch, updates: Mapping[Site, _ByQuery], places: Mapping[int, int]) -> bool:
    defined = _update(patch, updates).defined
    return patch.update == NO_UPDATE or any(bool(defined[places[layer]]) for layer in patch.place.layers)
