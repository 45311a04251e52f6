"""The three settings of one draw of demonstrations: run, and reduced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import UserError
from ...hooks.capture import capture, stream
from ...hooks.captured import Capture
from ...models.loading import LanguageModel
from ...probes import (
    NullSimilarity,
    SimAM,
    SimAOU,
    below_noise,
    correct_over_labels,
    correct_over_vocabulary,
    derangement,
    noise_floor,
    permuted_pairs,
    sim_am,
    sim_aou,
    sim_aou_null,
)
from ...seeds import derive_seed
from ...tasks.prompts import PromptSet
from ..configuration import MeasuringConfig
from .draw import Answers, NoiseFloor

# How many queries the repeated zero-shot run of half precision takes.
_REPEATED_QUERIES = 32


def capture_setting(
    config: MeasuringConfig, model: LanguageModel, prompts: PromptSet, name: str, folder: Path | None
) -> Capture:
    """Record one setting of the pretrained model, kept because every finetuning is compared with it.

    Args:
        config: The comparison.
        model: The model.
        prompts: The setting's prompts.
        name: The setting, for the progress bar and the file's name.
        folder: Where to keep the arrays; None is in memory.
    """
    return capture(
        model,
        prompts,
        config.plan,
        batch_size=config.batch_size,
        scoring=config.scoring,
        file=None if folder is None else folder / f"{name}.safetensors",
        progress=name,
    )


@dataclass(frozen=True)
class Reduced:
    """What is left of the finetuned setting after each batch was compared with the pretrained ones."""

    answers: Answers
    sim_aou: SimAOU
    nulls: dict[str, NullSimilarity]
    sim_am_before: SimAM
    sim_am_after: SimAM
    sim_am_delta: SimAM


def answers_of(capture: Capture, gold: Tensor) -> Answers:
    """Read what a setting answered.

    Args:
        capture: The setting, with label scores.
        gold: Right options, ``[N]``.
    """
    prediction, logprobs, argmax = capture.prediction, capture.label_logprobs, capture.label_is_argmax
    assert prediction is not None and logprobs is not None and argmax is not None
    return Answers(
        prediction.clone(),
        logprobs.clone(),
        correct_over_labels(prediction, gold),
        correct_over_vocabulary(argmax, gold),
    )


def reduce_finetuned(
    config: MeasuringConfig,
    batches: Iterator[tuple[Tensor, Capture]],
    zero_shot: Capture,
    icl: Capture,
    gold: Tensor,
    gaussian: NullSimilarity,
    seed: int,
) -> Reduced:
    """Compare the finetuned setting with the other two, batch by batch.

    Args:
        config: The comparison.
        batches: The finetuned setting: indices of the queries and their capture.
        zero_shot: The zero-shot setting, whole.
        icl: The in-context setting, whole.
        gold: Right options, ``[N]``.
        gaussian: The null that needs no finetuned output.
        seed: The draw's seed, for the other null.
    """
    zsl_output, icl_output = _outputs(zero_shot), _outputs(icl)
    partners = _partners(len(gold), config.null_draws, seed)
    parts: list[_Part] = []
    for indices, finetuned in batches:
        ft_output, before, after = _outputs(finetuned), zero_shot.select(indices), icl.select(indices)
        parts.append(
            _Part(
                indices,
                finetuned,
                sim_aou(zsl_output[indices], icl_output[indices], ft_output),
                _permuted_pairs(zsl_output, icl_output, ft_output, indices, partners),
                *_maps(config, before, after, finetuned),
            )
        )
    return _join(parts, gold, gaussian)


@dataclass(frozen=True)
class _Part:
    indices: Tensor
    capture: Capture
    sim_aou: SimAOU
    permuted_pairs: NullSimilarity
    before: SimAM
    after: SimAM
    delta: SimAM


def _outputs(capture: Capture) -> Tensor:
    assert capture.attention_output is not None
    return capture.attention_output


def _permuted_pairs(
    zero_shot: Tensor, icl: Tensor, finetuned: Tensor, indices: Tensor, partners: Tensor | None
) -> NullSimilarity:
    if partners is None:
        return sim_aou_null(zero_shot, icl, finetuned, "permuted_pairs", seed=0, draws=1)
    return permuted_pairs(zero_shot, icl, finetuned, partner=partners, examples=indices)


def _partners(n: int, draws: int, seed: int) -> Tensor | None:
    """Return derangements ``[R, N]``, or None where a single query has no other to be paired with."""
    if n < 2:
        return None
    return torch.stack([derangement(n, derive_seed("derangement", seed, draw)) for draw in range(draws)])


def _maps(
    config: MeasuringConfig, zero_shot: Capture, icl: Capture, finetuned: Capture
) -> tuple[SimAM, SimAM, SimAM]:
    """Return SimAM before finetuning, after it, and of the changes."""
    assert zero_shot.scores is not None and icl.scores is not None and finetuned.scores is not None
    width = finetuned.columns.shape[-1]
    before, demonstrated = zero_shot.scores[..., :width], icl.scores[..., :width]
    assert zero_shot.visible is not None and icl.visible is not None and finetuned.visible is not None
    visible = zero_shot.visible[..., :width] & icl.visible[..., :width] & finetuned.visible
    variant = config.score_variant
    needed = before if variant == "delta" else None

    def compare(scores: Tensor, kind: str, base: Tensor | None) -> SimAM:
        return sim_am(
            scores,
            demonstrated,
            finetuned.columns,
            variant=kind,  # type: ignore[arg-type]
            zero_shot=base,
            visible=visible,
        )

    plain = "raw" if variant == "delta" else variant
    return (
        compare(before, plain, None),
        compare(finetuned.scores, variant, needed),
        compare(finetuned.scores, "delta", before),
    )


def _join(parts: Sequence[_Part], gold: Tensor, gaussian: NullSimilarity) -> Reduced:
    """Put the batches' results into the order of the queries."""
    order = torch.cat([part.indices for part in parts]).argsort()
    scored = [answers_of(part.capture, gold[part.indices]) for part in parts]
    return Reduced(
        Answers(
            *(
                torch.cat([getattr(answers, name) for answers in scored])[order]
                for name in ("prediction", "label_logprobs", "correct", "correct_vocabulary")
            )
        ),
        SimAOU.concatenate([part.sim_aou for part in parts]).select(order),
        {
            "gaussian": gaussian,
            "permuted_pairs": NullSimilarity.concatenate([part.permuted_pairs for part in parts]).select(
                order
            ),
        },
        *(
            SimAM.concatenate([getattr(part, name) for part in parts]).select(order)
            for name in ("before", "after", "delta")
        ),
    )


def gaussian_null(config: MeasuringConfig, zero_shot: Capture, icl: Capture, seed: int) -> NullSimilarity:
    """Return SimAOU under random updates, drawn at once so that it does not depend on batches."""
    outputs = (_outputs(zero_shot), _outputs(icl))
    return sim_aou_null(*outputs, None, "gaussian", seed=derive_seed("null", seed), draws=config.null_draws)


def measure_noise_floor(
    config: MeasuringConfig, model: LanguageModel, prompts: PromptSet, zero_shot: Capture
) -> Tensor | None:
    """Run part of the zero-shot setting again, one prompt at a time, and see how far it differs from itself ``[L]``.

    Only in half precision, where other batches give other roundings; None in full precision.
    """
    if model.dtype not in (torch.float16, torch.bfloat16):
        return None
    indices = torch.arange(min(prompts.n, _REPEATED_QUERIES))
    few = PromptSet(
        prompts.prefix_ids,
        prompts.query_ids[: len(indices)],
        prompts.label_ids[: len(indices)],
        prompts.gold[: len(indices)],
        prompts.bos_length,
    )
    again = capture(model, few, config.plan, batch_size=1, scoring=config.scoring)
    return noise_floor(_outputs(zero_shot)[indices], _outputs(again))


def noise_of(floor: Tensor | None, result: SimAOU) -> NoiseFloor | None:
    """Return which updates are no larger than the noise floor, where there is one."""
    if floor is None:
        return None
    norms = (result.update_norms_icl, result.update_norms_ft)
    return NoiseFloor(floor, *(below_noise(each, floor).double().mean(dim=0) for each in norms))


def stream_finetuned(
    config: MeasuringConfig, model: LanguageModel, prompts: PromptSet, progress: str | None
) -> Iterator[tuple[Tensor, Capture]]:
    """Record the finetuned setting with the batches and the code path of the zero-shot one."""
    return stream(
        model, prompts, config.plan, batch_size=config.batch_size, scoring=config.scoring, progress=progress
    )


def require_comparable(config: MeasuringConfig) -> None:
    """Refuse a plan that leaves out what a comparison needs.

    Raises:
        UserError: If attention outputs or scores are missing, or there are several positions.
    """
    if not {"attention_output", "scores"} <= set(config.plan.sites):
        raise UserError(
            "a comparison needs the sites attention_output and scores: leave sites out of its plan"
        )
    if not config.plan.single_position:
        raise UserError(
            f"a comparison looks at one position a query, not {config.plan.positions!r}: use last_prompt_token "
            "or first_label_token"
        )
