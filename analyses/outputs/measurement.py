"""Measuring how far the answers of finetuned models lie from those given in context, over the whole vocabulary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...hooks.next_token import NextToken, stream_next_token
from ...probes import correct_over_labels, correct_over_vocabulary
from ...probes.distributions import (
    TopTokens,
    overlap_cosine_similarity,
    token_overlap,
    top_tokens,
)
from ...probes.options import OverlapNorm
from ...study.names import ICL, ZERO_SHOT
from ...tasks.orders import distinct_orders
from ...tasks.prompts import PromptSet
from ..arms.finetuning import (
    Arm,
    AskedQueries,
    LearningRates,
    arms_of,
    finetuning_bar,
    require_some_rate,
    run_arm,
)
from ..arms.fitting_cell import FittingCell, icl_prompts, prepare_fitting_cell
from ..arms.rows import arm_facts, arm_key, named_config
from ..cell import Cell
from ..configuration import SubjectConfig
from ..context import Context, Measured
from ..prompt import PromptView, view_prompt
from ..prompt_table import prompt_rows, prompt_warnings
from ..subject import Subject
from .checkpoint_pairs import arms_with_pairs, compare_checkpoints, pair_rows
from .config import OutputsConfig
from .findings import outputs_findings
from .kept_tokens import GROUP, KeptTokens
from .registration import ROWS


@dataclass(frozen=True, eq=False)
class Answers:
    """What is kept of the answers to all queries.

    Attributes:
        top: The most probable tokens, ``[N, K]``.
        accuracy_labels: Share right over the label set.
        accuracy_vocabulary: Share right over the vocabulary.
    """

    top: TopTokens
    accuracy_labels: float
    accuracy_vocabulary: float


def keep_answers(batches: Iterable[tuple[Tensor, NextToken]], gold: Tensor, k: int) -> Answers:
    """Keep the top tokens and the accuracy of each batch, in the order of the queries.

    Args:
        batches: Indices of queries, and what was said behind them.
        gold: The right options, ``[N]``.
        k: How many tokens.

    Raises:
        UserError: If the vocabulary has fewer.
    """
    parts: list[TopTokens] = []
    places: list[Tensor] = []
    labels = vocabulary = 0
    for indices, said in batches:
        if k > said.logprobs.shape[1]:
            raise UserError(
                f"the vocabulary has {said.logprobs.shape[1]} tokens: compare fewer than top_k={k}"
            )
        assert said.label_is_argmax is not None
        right = gold[indices]
        labels += int(correct_over_labels(said.prediction.cpu(), right).sum())
        vocabulary += int(correct_over_vocabulary(said.label_is_argmax.cpu(), right).sum())
        parts.append(top_tokens(said.logprobs, k))
        places.append(indices)
    order = torch.cat(places).argsort()
    return Answers(TopTokens.concatenate(parts).select(order), labels / len(gold), vocabulary / len(gold))


def measure_outputs(config: OutputsConfig, context: Context) -> Measured:
    """Measure zero-shot, in-context learning and every arm of each model, for every number of shots and draw.

    Args:
        config: What is asked.
        context: The models and the task.

    Raises:
        UserError: If an arm cannot be run, or all of them diverge.
    """
    rows: list[dict[str, Any]] = []
    views: list[PromptView] = []
    kept = KeptTokens()
    named = config
    for of_model, subject in context.subjects(config):
        measured, view = _measure_model(of_model, subject, kept)
        rows += measured
        views.append(view)
        named = named_config(named, subject, context)
    frame, top = ROWS.frame(rows), kept.arrays()
    pairs = []
    for arm in arms_with_pairs(frame):
        overlap, cosine = (
            compare_checkpoints(frame, top, arm, measure, config.overlap_norm)
            for measure in ("token_overlap", "ocs")
        )
        pairs += pair_rows(overlap, cosine)
    shots = f"{', '.join(map(str, config.shots))} shots"
    return Measured(
        named,
        {
            "rows": frame,
            "pairs": pairs,
            "prompts": prompt_rows(views),
            "facts": arm_facts(named, frame, shots, views),
        },
        (*outputs_findings(frame), *prompt_warnings(views)),
        {GROUP: top},
    )


def _measure_model(
    config: OutputsConfig, subject: Subject, kept: KeptTokens
) -> tuple[list[dict[str, Any]], PromptView]:
    """Measure one model; return its first prompt too.

    Zero-shot answers are given once for all, those in context once for all arms.
    """
    model = subject.model
    arms = arms_of(config, model)
    rows: list[dict[str, Any]] = []
    prompts: list[PromptView] = []
    shared: _Shared | None = None
    with finetuning_bar(len(config.shots) * len(config.seeds) * len(arms), f"outputs of {model.name}") as bar:
        for shots in config.shots:
            settings = config.subject(model.name, shots)
            rates = LearningRates(config, settings, model, subject.task)
            for seed in config.seeds:
                prepared = prepare_fitting_cell(settings, model, subject.task, seed)
                shared = shared or _Shared(config, subject, settings, prepared.cell, kept)
                draw = _Draw(shared, settings, prepared)
                prompts.append(view_prompt(model, subject.task, prepared.cell))
                rows += [draw.zero_shot(), *draw.in_context()]
                tried: dict[tuple[str, float], bool] = {}
                for arm in arms:
                    for rate in rates.of(arm, prepared.cell):
                        bar.note(f"{shots} shots, {arm.name}, {rate:g}")
                        found = draw.finetuned(arm, rate)
                        tried[arm.name, rate] = found[-1]["tokens"] is not None
                        rows += found
                    bar.update()
                require_some_rate(tried)
    return rows, prompts[0]


class _Shared:
    """What all draws and numbers of shots of one model have in common: the queries and the zero-shot answers."""

    def __init__(
        self,
        config: OutputsConfig,
        subject: Subject,
        settings: SubjectConfig,
        cell: Cell,
        kept: KeptTokens,
    ) -> None:
        self.config, self.subject, self.kept = config, subject, kept
        self.queries = AskedQueries(settings, subject.model)
        self.gold = torch.tensor(cell.prompts.zero_shot.gold)
        self.zero_shot = self.answers(cell.prompts.zero_shot, "zero-shot")

    def answers(self, prompts: PromptSet, progress: str | None = None) -> Answers:
        batches = stream_next_token(
            self.subject.model,
            prompts,
            batch_size=self.config.batch_size,
            scoring=self.config.scoring,
            progress=progress,
        )
        return keep_answers(batches, self.gold, self.config.top_k)


class _Draw:
    """One draw of demonstrations: its answers in context, and those of models finetuned on it."""

    def __init__(self, shared: _Shared, settings: SubjectConfig, prepared: FittingCell) -> None:
        self._shared, self._settings, self._prepared = shared, settings, prepared
        self._icl = shared.answers(prepared.cell.prompts.icl, "icl") if prepared.fits else None

    def zero_shot(self) -> dict[str, Any]:
        """Return the zero-shot answers, compared with those in context."""
        return self._row(ZERO_SHOT, self._shared.zero_shot, self._icl)

    def in_context(self) -> list[dict[str, Any]]:
        """Return the answers in context, compared with themselves in other orders; none where they do not fit."""
        if self._icl is None:
            return []
        others = [
            self._shared.answers(icl_prompts(self._prepared.cell, self._shared.subject, order)).top
            for order in self._other_orders()
        ]
        return [self._row(ICL, self._icl, others)]

    def finetuned(self, arm: Arm, rate: float) -> list[dict[str, Any]]:
        """Finetune and return the answers of every epoch evaluated; of none where it diverges."""
        shared, prompts = self._shared, self._prepared.cell.prompts
        asked = shared.queries.of(prompts.zero_shot, arm.recipe)
        answers: dict[int, Answers] = {}

        def evaluate(epoch: int) -> None:
            answers[epoch] = keep_answers(asked.ask(), shared.gold, shared.config.top_k)

        well = run_arm(shared.subject.model, prompts.training, arm, rate, self._prepared.cell.seed, evaluate)
        return [
            self._row(arm.name, answers[epoch] if well else None, self._icl, arm, rate, epoch)
            for epoch in arm.epochs()
        ]

    def _other_orders(self) -> tuple[tuple[int, ...], ...]:
        n = len(self._prepared.cell.demonstrations)
        if n < 2:
            return ()
        return distinct_orders(n, self._shared.config.icl_orders + 1, self._prepared.cell.seed)[1:]

    def _row(
        self,
        name: str,
        answers: Answers | None,
        against: Answers | Sequence[TopTokens] | None,
        arm: Arm | None = None,
        rate: float | None = None,
        epoch: int | None = None,
    ) -> dict[str, Any]:
        others = [] if against is None else [against.top] if isinstance(against, Answers) else list(against)
        top = None if answers is None else answers.top
        overlap, cosine = _compare(top, others, self._shared.config.overlap_norm)
        cell, shots = self._prepared.cell, self._settings.shots
        return {
            **arm_key(self._shared.subject, shots, cell.seed, name, arm, rate, epoch),
            "queries": len(self._shared.gold),
            "accuracy_vocabulary": math.nan if answers is None else answers.accuracy_vocabulary,
            "accuracy_labels": math.nan if answers is None else answers.accuracy_labels,
            "token_overlap": float(overlap.mean()),
            "token_overlap_std": float(overlap.std(correction=0)),
            "ocs": float(cosine.mean()),
            "ocs_std": float(cosine.std(correction=0)),
            "tokens": None if top is None else self._shared.kept.add(top),
        }


def _compare(top: TopTokens | None, others: Sequence[TopTokens], norm: OverlapNorm) -> tuple[Tensor, Tensor]:
    """Return token overlap and OCS of each query, mean over what it is compared with; NaN without anything."""
    if top is None or not others:
        undefined = torch.full((1,), math.nan, dtype=torch.float64)
        return undefined, undefined
    overlap = torch.stack([token_overlap(top, other) for other in others]).mean(dim=0)
    cosine = torch.stack([overlap_cosine_similarity(top, other, norm) for other in others]).mean(dim=0)
    return overlap, cosine
