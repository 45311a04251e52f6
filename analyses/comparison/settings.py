"""The three settings of one draw of demonstrations: run, and what they answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError, shown
from ...hooks.capture import capture, stream
from ...hooks.captured import Capture
from ...models.loading import LanguageModel
from ...probes import (
    Floors,
    NullMeans,
    correct_over_labels,
    correct_over_vocabulary,
    sim_aou_null,
)
from ...probes.vectors import example_slices
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
        folder: Where to keep the arrays for good; None is as long as they are used, in memory or in scratch.

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
        scratch=True,
        progress=name,
    )
    outputs = outputs_of(recorded)
    if not all(bool(outputs[rows].isfinite().all()) for rows in slices_of(recorded)):
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


def slices_of(capture: Capture) -> Iterator[slice]:
    """Yield slices of the queries of a capture, of which no array of a slice is large."""
    return example_slices(capture.n, max(array[:1].numel() for array in capture.arrays().values()))


def gaussian_null(
    config: MeasuringConfig, zero_shot: Capture, icl: Capture, floors: Floors, seed: int
) -> NullMeans:
    """Return SimAOU under random updates, drawn query by query so that it does not depend on batches."""
    before, after = outputs_of(zero_shot), outputs_of(icl)
    generator = np.random.default_rng(derive_seed("null", seed))
    parts = [
        sim_aou_null(
            before[rows],
            after[rows],
            None,
            "gaussian",
            seed=generator,
            draws=config.null_draws,
            floors=floors,
        ).means()
        for rows in slices_of(zero_shot)
    ]
    return NullMeans.join(parts, torch.arange(zero_shot.n))


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
