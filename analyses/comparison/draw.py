"""The result of one draw of demonstrations: the three settings side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ...models.finetuning import Finetuning
from ...models.learning_rate import LearningRateChoice
from ...probes import NullMeans, NullSimilarity, SimAMMeans, SimAOU
from ..prompt import PromptView
from .finetuning_drift import FinetuningDrift

Setting = Literal["zsl", "icl", "ft"]
SETTINGS: tuple[Setting, ...] = ("zsl", "icl", "ft")


@dataclass(frozen=True)
class Answers:
    """What one setting answered.

    Attributes:
        prediction: The most likely label option, ``[N]``.
        label_logprobs: Log-probability of each option, ``[N, C]``.
        correct: Whether the prediction is the gold label, ``[N]`` bool.
        correct_vocabulary: Whether every token of the gold label is the argmax of the vocabulary, ``[N]`` bool.
    """

    prediction: Tensor
    label_logprobs: Tensor
    correct: Tensor
    correct_vocabulary: Tensor


@dataclass(frozen=True)
class NoiseFloor:
    """What the same zero-shot run, repeated in other batches, differs from itself in half precision.

    Attributes:
        floor: Largest difference of the normalised attention output, ``[L]``.
        icl_below: Share of ICL updates that are no larger, ``[L]``.
        ft_below: Share of finetuning updates that are no larger, ``[L]``.
    """

    floor: Tensor
    icl_below: Tensor
    ft_below: Tensor


@dataclass(frozen=True)
class Evaluation:
    """How the finetuned model did at one epoch.

    Attributes:
        epoch: Counted from 1.
        accuracy: Percent right over the label set.
        gold_logprob: Mean log-probability of the gold label.
    """

    epoch: int
    accuracy: float
    gold_logprob: float


@dataclass(frozen=True)
class FinetunedSetting:
    """Where the finetuned weights came from.

    Attributes:
        source: The recipe's name, or the path of a model that somebody else finetuned.
        trained_parameters: How many numbers differ from the model's.
        finetuning: The run, without its weights' history; None for somebody else's.
        choice: How the learning rate was chosen, if it was.
        evaluations: How it did along the way.
        drift: How far each attention projection moved.
        notes: What limits what they tell.
    """

    source: str
    trained_parameters: int
    finetuning: Finetuning | None
    choice: LearningRateChoice | None
    evaluations: tuple[Evaluation, ...]
    drift: tuple[FinetuningDrift, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draw:
    """One draw of demonstrations, run in all three settings.

    Attributes:
        seed: The seed of the draw.
        layers: The layers recorded, L.
        label_names: The labels, C.
        query_indices: Place of each query in the file or source it comes from, counted from 0, N.
        queries: The text of each query, N.
        gold: The right option, ``[N]``.
        answers: What each setting answered.
        sim_aou: Similarity of the attention output updates.
        nulls: SimAOU under each null, by kind: ``gaussian``, ``permuted_pairs`` and ``shared_baseline``.
        sim_aou_partial: SimAOU with the zero-shot output and what all queries share taken out.
        sim_aou_partial_null: The same with the ICL output of other queries, which lies at 0.
        sim_am_before: SimAM of ICL and zero-shot.
        sim_am_after: SimAM of ICL and finetuned.
        sim_am_delta: SimAM of the two changes of the scores (the NAACL variant).
        sim_am_delta_null: The same with the ICL scores of other queries, mean over draws of the null.
        noise: The noise floor, in half precision.
        finetuned: Where the finetuned weights came from.
        demonstrations_used: Demonstrations in the context.
        demonstrations_asked: Demonstrations asked for.
        queries_skipped: Queries too long on their own.
        records_left_out: Records over the token limit, in train and validation.
        separator_unknown: Whether the separator holds an unknown token.
        manifest: Where the captures came from.
        prompt: The prompts of the first query, token by token.
        seen_queries: Validation records that also stand in the training records, and were not asked.
        record_notes: How the records were divided, where the user did not.
    """

    seed: int
    layers: tuple[int, ...]
    label_names: tuple[str, ...]
    query_indices: tuple[int, ...]
    queries: tuple[str, ...]
    gold: Tensor
    answers: Mapping[Setting, Answers]
    sim_aou: SimAOU
    nulls: Mapping[str, NullMeans]
    sim_aou_partial: SimAOU
    sim_aou_partial_null: NullSimilarity
    sim_am_before: SimAMMeans
    sim_am_after: SimAMMeans
    sim_am_delta: SimAMMeans
    sim_am_delta_null: SimAMMeans
    noise: NoiseFloor | None
    finetuned: FinetunedSetting
    demonstrations_used: int
    demonstrations_asked: int
    queries_skipped: int
    records_left_out: tuple[int, int]
    separator_unknown: bool
    manifest: Mapping[str, Any]
    prompt: PromptView | None = None
    seen_queries: int = 0
    record_notes: tuple[str, ...] = ()
