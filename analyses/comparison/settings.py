"""The three settings of one draw of demonstrations: run, and what they answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ...errors import UserError, shown
from ...hooks.capture import capture, stream
from ...hooks.captured import Capture
from ...models.loading import LanguageModel
from ...probes import (
    Floors,
    NullSimilarity,
    correct_over_labels,
    correct_over_vocabulary,
    sim_aou_null,
)
from ...seeds import derive_seed
from ...tasks.prompts import PromptSet
from ..configuration import MeasuringConfig
from .draw import Answers


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

    Raises:
        UserError: If what the model computes is no number.
    """
    recorded = capture(
        model,
        prompts,
        config.plan,
        batch_size=config.batch_size,
        scoring=config.scoring,
        setting=name,
        engine=config.engine,
        file=None if folder is None else folder / f"{name}.safetensors",
        progress=name,
    )
    if not outputs_of(recorded).isfinite().all():
        raise UserError(
            f"the attention outputs of {shown(model.name)} are NaN or infinite for some prompts: load it with "
            "dtype=float32, or fetch it again"
        )
    return recorded


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


def outputs_of(capture: Capture) -> Tensor:
    """Return the attention outputs of a setting, ``[N, L, d]``."""
    assert capture.attention_output is not None
    return capture.attention_output


def gaussian_null(
    config: MeasuringConfig, zero_shot: Capture, icl: Capture, floors: Floors, seed: int
) -> NullSimilarity:
    """Return SimAOU under random updates, drawn at once so that it does not depend on batches."""
    outputs = (outputs_of(zero_shot), outputs_of(icl))
    return sim_aou_null(
        *outputs,
        None,
        "gaussian",
        seed=derive_seed("null", seed),
        draws=config.null_draws,
        floors=floors,
    )


def stream_finetuned(
    config: MeasuringConfig, model: LanguageModel, prompts: PromptSet, progress: str | None
) -> Iterator[tuple[Tensor, Capture]]:
    """Record the finetuned setting with the batches and the code path of the zero-shot one."""
    return stream(
        model,
        prompts,
        config.plan,
        batch_size=config.batch_size,
        scoring=config.scoring,
        setting="ft",
        engine=config.engine,
        progress=progress,
    )


def require_comparable(config: MeasuringConfig) -> None:
    """Refuse a plan that leaves out what a comparison needs.

    Raises:
        UserError: If attention outputs or scores are missing, there are several positions, or columns are not the
            query's, which alone all settings have.
    """
    if not {"attention_output", "scores"} <= set(config.plan.sites):
        raise UserError(
            "a comparison needs the sites attention_output and scores: leave sites out of its plan"
        )
    if not config.plan.single_position:
        raise UserError(
            f"a comparison looks at one position a query, not {shown(config.plan.positions)}: use last_prompt_token "
            "or first_label_token"
        )
    if config.plan.columns != "query":
        raise UserError(
            f"a comparison looks at the query's columns, not {shown(config.plan.columns)}: leave columns out of "
            "its plan"
        )
