"""Putting the batches of a capture together, in memory or in a file, in the order of the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..tasks.prompts import PromptSet
from ..unfinished import unfinished_place
from .captured import Capture, header_of
from .captured_prompts import CapturedPrompts
from .named_positions import named_tokens
from .plan import CapturePlan
from .resolved_plan import ResolvedPlan
from .site_shapes import site_shape
from .storage import Shapes, allocate_in_file


def array_shapes(resolved: ResolvedPlan, prompts: PromptSet, top_k: int) -> Shapes:
    """Shapes of the arrays that a capture of all prompts fills."""
    model, plan = resolved.model, resolved.plan
    n, layers, first_label = prompts.n, len(resolved.parts), plan.positions == "first_label_token"
    longest = max(len(ids) for ids in prompts.query_ids)
    width = longest + first_label + (len(prompts.prefix_ids) if plan.columns == "all" else 0)
    positions = () if plan.single_position else (_rows(plan, prompts, longest),)
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "columns": ((n, width), torch.bool),
        "row_tokens": ((n, *positions), torch.int64),
    }
    geometry = model.geometry_of(resolved.layers[0])
    for site in plan.sites:
        shape = site_shape(site, geometry, model.width, width)
        shapes[site] = ((n, layers, *positions, *shape), torch.float32)
    if {"scores", "pattern"} & set(plan.sites):
        shapes["visible"] = ((n, layers, *positions, 1, width), torch.bool)
    if positions:
        shapes["rows"] = ((n, *positions), torch.bool)
    if prompts.label_ids:
        shapes["label_logprobs"] = ((n, prompts.n_options), torch.float32)
        shapes["label_is_argmax"] = ((n, prompts.n_options), torch.bool)
    top = min(top_k, model.module.config.get_text_config().vocab_size)
    shapes["top_ids"] = ((n, top), torch.int64)
    shapes["top_logprobs"] = ((n, top), torch.float32)
    return shapes


def _rows(plan: CapturePlan, prompts: PromptSet, longest: int) -> int:
    """How many rows a prompt has at most."""
    named = named_tokens(plan.positions, prompts)
    if named is not None:
        return max(map(len, named))
    return longest if plan.positions == "all" else len(plan.positions)


def fill(
    arrays: dict[str, Tensor],
    batches: Iterator[tuple[Tensor, Capture]],
    layers: tuple[int, ...],
    prompts: CapturedPrompts,
) -> Capture:
    """Put each batch where its prompts belong; shorter rows leave zeros behind them, and no token (-1)."""
    manifest: dict[str, Any] = {}
    arrays["row_tokens"].fill_(-1)
    for indices, batch in batches:
        manifest = batch.manifest
        for name, values in batch.arrays().items():
            place = (indices, *(slice(size) for size in values.shape[1:]))
            arrays[name][place] = values
    return Capture(layers=layers, **arrays, prompts=prompts, manifest=manifest)


def fill_file(
    path: Path,
    shapes: Shapes,
    batches: Iterator[tuple[Tensor, Capture]],
    layers: tuple[int, ...],
    prompts: CapturedPrompts,
) -> Capture:
    """Fill a safetensors file that takes its name when it is whole.

    Args:
        path: The file.
        shapes: The arrays, see `array_shapes`.
        batches: Indices of prompts and what was recorded of them.
        layers: The layers recorded.
        prompts: The prompts, in their order.
    """
    if "label_logprobs" in shapes:
        shapes = {**shapes, "prediction": (shapes["label_logprobs"][0][:1], torch.int64)}
    first_indices, first = next(batches)
    header = header_of(layers, first.manifest, prompts)
    with unfinished_place(path) as unfinished:
        arrays = allocate_in_file(unfinished, shapes, header)
        prediction = arrays.pop("prediction", None)
        filled = fill(arrays, chain([(first_indices, first)], batches), layers, prompts)
        if prediction is not None and filled.prediction is not None:
            prediction[:] = filled.prediction
        unfinished.replace(path)
        return filled
