"""The finetuned setting of a comparison, reduced batch by batch to what it has in common with the pretrained ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...hooks.captured import Capture
from ...probes import (
    NullSimilarity,
    ScoreVariant,
    SimAM,
    SimAOU,
    delta_shared_baseline,
    derangement,
    partial_permuted_pairs,
    partial_sim_aou,
    permuted_pairs,
    shared_baseline,
    sim_am,
    sim_aou,
)
from ...probes.null_similarity import undefined_null
from ...seeds import derive_seed
from ..configuration import MeasuringConfig
from .draw import Answers
from .rounding import ChangeFloors
from .settings import answers_of, outputs_of


@dataclass(frozen=True)
class Reduced:
    """What is left of the finetuned setting after each batch was compared with the pretrained ones.

    Attributes are those of `Draw`.
    """

    answers: Answers
    sim_aou: SimAOU
    nulls: dict[str, NullSimilarity]
    sim_aou_partial: SimAOU
    sim_aou_partial_null: NullSimilarity
    sim_am_before: SimAM
    sim_am_after: SimAM
    sim_am_delta: SimAM
    sim_am_delta_null: SimAM


def reduce_finetuned(
    config: MeasuringConfig,
    batches: Iterator[tuple[Tensor, Capture]],
    zero_shot: Capture,
    icl: Capture,
    gold: Tensor,
    gaussian: NullSimilarity,
    floors: ChangeFloors,
    seed: int,
) -> Reduced:
    """Compare the finetuned setting with the other two, batch by batch.

    Of the finetuned setting its attention outputs are kept until the last batch, for the partial similarity, which
    needs all queries at once; its scores are not.

    Args:
        config: The comparison.
        batches: The finetuned setting: indices of the queries and their capture.
        zero_shot: The zero-shot setting, whole.
        icl: The in-context setting, whole.
        gold: Right options, ``[N]``.
        gaussian: The null that needs no finetuned output.
        floors: Up to which length changes are only rounding.
        seed: The draw's seed, for the nulls of other queries.
    """
    partners = partners_of(len(gold), config.null_draws, seed)
    pretrained = _Pretrained(config, zero_shot, icl, floors, partners)
    zsl_output, icl_output = outputs_of(zero_shot), outputs_of(icl)
    ft_output = _WholeOutputs(zsl_output)
    parts = []
    for indices, finetuned in batches:
        ft_output.add(indices, outputs_of(finetuned))
        parts.append(pretrained.compare(indices, finetuned, gold))
    outputs = (zsl_output, icl_output, ft_output.tensor)
    joined = _join(parts)
    return Reduced(
        answers=joined.answers,
        sim_aou=joined.sim_aou,
        nulls={
            "gaussian": gaussian,
            "permuted_pairs": joined.permuted_pairs,
            "shared_baseline": joined.shared_baseline,
        },
        sim_aou_partial=partial_sim_aou(*outputs, floors=floors.outputs),
        sim_aou_partial_null=partial_permuted_pairs(*outputs, floors=floors.outputs),
        sim_am_before=joined.before,
        sim_am_after=joined.after,
        sim_am_delta=joined.delta,
        sim_am_delta_null=joined.delta_null,
    )


def partners_of(n: int, draws: int, seed: int) -> Tensor | None:
    """Return derangements ``[R, N]``, or None where a single query has no other to be paired with."""
    if n < 2:
        return None
    return torch.stack([derangement(n, derive_seed("derangement", seed, draw)) for draw in range(draws)])


class _WholeOutputs:
    """The attention outputs of all queries; those that come whole, in memory or in a file, are not copied."""

    def __init__(self, like: Tensor) -> None:
        self.tensor = torch.empty(0)
        self._like = like

    def add(self, indices: Tensor, outputs: Tensor) -> None:
        if torch.equal(indices, torch.arange(len(self._like))):
            self.tensor = outputs
            return
        if not len(self.tensor):
            self.tensor = torch.empty_like(self._like)
        self.tensor[indices] = outputs


@dataclass(frozen=True)
class _Part:
    """What one batch has in common with the pretrained settings."""

    indices: Tensor
    answers: Answers
    sim_aou: SimAOU
    permuted_pairs: NullSimilarity
    shared_baseline: NullSimilarity
    before: SimAM
    after: SimAM
    delta: SimAM
    delta_null: SimAM


@dataclass(frozen=True)
class _Pretrained:
    """The pretrained settings, which every batch is compared with."""

    config: MeasuringConfig
    zero_shot: Capture
    icl: Capture
    floors: ChangeFloors
    partners: Tensor | None

    def compare(self, indices: Tensor, finetuned: Capture, gold: Tensor) -> _Part:
        output = outputs_of(finetuned)
        zsl_output, icl_output = outputs_of(self.zero_shot), outputs_of(self.icl)
        return _Part(
            indices,
            answers_of(finetuned, gold[indices]),
            sim_aou(zsl_output[indices], icl_output[indices], output, floors=self.floors.outputs),
            *self._nulls(indices, output),
            *self._maps(indices, finetuned),
            self._delta_null(indices, finetuned),
        )

    @cached_property
    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Zero-shot and in-context scores, and what is visible in both."""
        zero_shot, icl = self.zero_shot, self.icl
        assert zero_shot.scores is not None and icl.scores is not None
        assert zero_shot.visible is not None and icl.visible is not None
        return zero_shot.scores, icl.scores, zero_shot.visible & icl.visible

    def _nulls(self, indices: Tensor, output: Tensor) -> tuple[NullSimilarity, NullSimilarity]:
        if self.partners is None:
            shape = (1, *output.shape[:2])
            return undefined_null("permuted_pairs", *shape), undefined_null("shared_baseline", *shape)
        outputs = (outputs_of(self.zero_shot), outputs_of(self.icl), output)
        paired = {"partner": self.partners, "examples": indices, "floors": self.floors.outputs}
        return permuted_pairs(*outputs, **paired), shared_baseline(*outputs, **paired)

    def _maps(self, indices: Tensor, finetuned: Capture) -> tuple[SimAM, SimAM, SimAM]:
        """Return SimAM before finetuning, after it, and of the changes."""
        assert finetuned.scores is not None and finetuned.visible is not None
        width, columns = finetuned.columns.shape[-1], finetuned.columns
        before, demonstrated, visible = (array[indices][..., :width] for array in self._scores)
        visible, variant = visible & finetuned.visible, self.config.score_variant

        def compare(scores: Tensor, kind: ScoreVariant, base: Tensor | None) -> SimAM:
            return sim_am(
                scores,
                demonstrated,
                columns,
                variant=kind,
                zero_shot=base,
                visible=visible,
                floors=self.floors.scores,
            )

        return (
            compare(before, "raw" if variant == "delta" else variant, None),
            compare(finetuned.scores, variant, before if variant == "delta" else None),
            compare(finetuned.scores, "delta", before),
        )

    def _delta_null(self, indices: Tensor, finetuned: Capture) -> SimAM:
        assert finetuned.scores is not None
        before, demonstrated, visible = self._scores
        if self.partners is None:
            return SimAM("delta", torch.full(before.shape[:3], torch.nan, dtype=torch.float64))
        missing = before.shape[-1] - finetuned.scores.shape[-1]
        return delta_shared_baseline(
            torch.nn.functional.pad(finetuned.scores, (0, missing)),
            demonstrated,
            self.zero_shot.columns,
            zero_shot=before,
            partner=self.partners,
            examples=indices,
            visible=visible,
            floors=self.floors.scores,
        )


def _join(parts: Sequence[_Part]) -> _Part:
    """Put the batches' results into the order of the queries."""
    indices = torch.cat([part.indices for part in parts])
    order = indices.argsort()

    def answers(name: str) -> Tensor:
        return torch.cat([getattr(part.answers, name) for part in parts])[order]

    return _Part(
        indices[order],
        Answers(*map(answers, ("prediction", "label_logprobs", "correct", "correct_vocabulary"))),
        SimAOU.concatenate([part.sim_aou for part in parts]).select(order),
        NullSimilarity.concatenate([part.permuted_pairs for part in parts]).select(order),
        NullSimilarity.concatenate([part.shared_baseline for part in parts]).select(order),
        SimAM.concatenate([part.before for part in parts]).select(order),
        SimAM.concatenate([part.after for part in parts]).select(order),
        SimAM.concatenate([part.delta for part in parts]).select(order),
        SimAM.concatenate([part.delta_null for part in parts]).select(order),
    )
