"""The finetuned setting of a comparison, reduced batch by batch to what it has in common with the pretrained ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...hooks.captured import Capture
from ...hooks.storage import scratch_zeros
from ...probes import (
    NullMeans,
    NullSimilarity,
    ScoreVariant,
    SimAM,
    SimAMMeans,
    SimAOU,
    delta_shared_baseline,
    derangement,
    partial_similarity,
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
from .settings import answers_of, outputs_of, slices_of


@dataclass(frozen=True)
class Reduced:
    """What is left of the finetuned setting after each batch was compared with the pretrained ones.

    Attributes are those of `Draw`.
    """

    answers: Answers
    sim_aou: SimAOU
    nulls: dict[str, NullMeans]
    sim_aou_partial: SimAOU
    sim_aou_partial_null: NullSimilarity
    sim_am_before: SimAMMeans
    sim_am_after: SimAMMeans
    sim_am_delta: SimAMMeans
    sim_am_delta_null: SimAMMeans


def reduce_finetuned(
    config: MeasuringConfig,
    batches: Iterator[tuple[Tensor, Capture]],
    zero_shot: Capture,
    icl: Capture,
    gold: Tensor,
    gaussian: NullMeans,
    floors: ChangeFloors,
    seed: int,
    outputs: Tensor | None = None,
) -> Reduced:
    """Compare the finetuned setting with the other two, batch by batch.

    Of the finetuned setting its attention outputs are kept until the last batch, for the partial similarity, which
    needs those of all queries; its scores are not. Heads and random draws of a query are gone with its batch.

    Args:
        config: The comparison.
        batches: The finetuned setting: indices of the queries and their capture.
        zero_shot: The zero-shot setting, whole, in memory or in a file.
        icl: The in-context setting likewise.
        gold: Right options, ``[N]``.
        gaussian: The null that needs no finetuned output.
        floors: Up to which length changes are only rounding.
        seed: The draw's seed, for the nulls of other queries.
        outputs: The finetuned attention outputs of all queries, where they are kept anyway.
    """
    partners = partners_of(len(gold), config.null_draws, seed)
    pretrained = _Pretrained(config, zero_shot, icl, floors, partners)
    zsl_output, icl_output = outputs_of(zero_shot), outputs_of(icl)
    filled = None
    if outputs is None:
        filled = outputs = scratch_zeros(*zsl_output.shape, dtype=zsl_output.dtype)
    parts = []
    for indices, finetuned in batches:
        if filled is not None:
            filled[indices] = outputs_of(finetuned)
        parts.append(pretrained.compare(indices, finetuned, gold))
    joined = _join(parts)
    partial, partial_null = partial_similarity(zsl_output, icl_output, outputs, floors=floors.outputs)
    return Reduced(
        answers=joined.answers,
        sim_aou=joined.sim_aou,
        nulls={
            "gaussian": gaussian,
            "permuted_pairs": joined.permuted_pairs,
            "shared_baseline": joined.shared_baseline,
        },
        sim_aou_partial=partial,
        sim_aou_partial_null=partial_null,
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


@dataclass(frozen=True)
class _Part:
    """What one batch has in common with the pretrained settings."""

    indices: Tensor
    answers: Answers
    sim_aou: SimAOU
    permuted_pairs: NullMeans
    shared_baseline: NullMeans
    before: SimAMMeans
    after: SimAMMeans
    delta: SimAMMeans
    delta_null: SimAMMeans


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
        both = scratch_zeros(*icl.visible.shape, dtype=torch.bool)
        for rows in slices_of(icl):
            both[rows] = zero_shot.visible[rows] & icl.visible[rows]
        return zero_shot.scores, icl.scores, both

    def _nulls(self, indices: Tensor, output: Tensor) -> tuple[NullMeans, NullMeans]:
        if self.partners is None:
            shape = (1, *output.shape[:2])
            return (
                undefined_null("permuted_pairs", *shape).means(),
                undefined_null("shared_baseline", *shape).means(),
            )
        outputs = (outputs_of(self.zero_shot), outputs_of(self.icl), output)
        paired = {"partner": self.partners, "examples": indices, "floors": self.floors.outputs}
        return permuted_pairs(*outputs, **paired).means(), shared_baseline(*outputs, **paired).means()

    def _maps(self, indices: Tensor, finetuned: Capture) -> tuple[SimAMMeans, SimAMMeans, SimAMMeans]:
        """Return SimAM before finetuning, after it, and of the changes."""
        assert finetuned.scores is not None and finetuned.visible is not None
        width, columns = finetuned.columns.shape[-1], finetuned.columns
        before, demonstrated, visible = (array[indices][..., :width] for array in self._scores)
        visible, variant = visible & finetuned.visible, self.config.score_variant

        def compare(scores: Tensor, kind: ScoreVariant, base: Tensor | None) -> SimAMMeans:
            return sim_am(
                scores,
                demonstrated,
                columns,
                variant=kind,
                zero_shot=base,
                visible=visible,
                floors=self.floors.scores,
            ).means()

        return (
            compare(before, "raw" if variant == "delta" else variant, None),
            compare(finetuned.scores, variant, before if variant == "delta" else None),
            compare(finetuned.scores, "delta", before),
        )

    def _delta_null(self, indices: Tensor, finetuned: Capture) -> SimAMMeans:
        assert finetuned.scores is not None
        before, demonstrated, visible = self._scores
        if self.partners is None:
            return SimAM("delta", torch.full(before.shape[:3], torch.nan, dtype=torch.float64)).means()
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
        ).means()


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
        NullMeans.join([part.permuted_pairs for part in parts], order),
        NullMeans.join([part.shared_baseline for part in parts], order),
        SimAMMeans.join([part.before for part in parts], order),
        SimAMMeans.join([part.after for part in parts], order),
        SimAMMeans.join([part.delta for part in parts], order),
        SimAMMeans.join([part.delta_null for part in parts], order),
    )
