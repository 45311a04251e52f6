"""Attention outputs of a model whose layers are given the inputs that they have in another run (R23).

Every layer with attention gets, at the tokens that are given, the residual stream of another run, and one forward
gives all layers: what a layer computes from its input reaches no layer above it, because their inputs are given too.
Tokens in front of these, such as the begin of sequence, have what they compute themselves.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..models.loading import LanguageModel
from ..tasks.prompt_set import PromptSet
from .capture import capture
from .patch import patch
from .plan import CapturePlan
from .prompt_run import batches_of, prepare_run

_OUTPUTS = CapturePlan(sites=("attention_output",))


def require_one_stream(model: LanguageModel) -> None:
    """Refuse models whose layers read more than the residual stream that enters them.

    Raises:
        UserError: If they keep several streams, or take keys or parts of the embedding from elsewhere.
    """
    family = model.family
    if family.stream is not None or family.shares_keys:
        raise UserError(
            f"the layers of {shown(model.name)} ({family.label}) read more than one residual stream, so their inputs "
            "cannot be replaced as a whole: take a model of another family"
        )


def outputs_on_inputs(
    model: LanguageModel, prompts: PromptSet, inputs: Tensor, *, layers: tuple[int, ...], first: int = 0
) -> Tensor:
    """Return the attention outputs at each prompt's last token, ``[N, L, d]``, of layers that are given their inputs.

    Positions and attention masks are those of the prompts, which run in one batch where they can.

    Args:
        model: The model.
        prompts: The prompts.
        inputs: What enters each layer, ``[N, L', P, d]``; rows behind the end of a prompt count for nothing.
        layers: Numbers of the layers L'. A layer with attention that is not among them keeps its own input.
        first: The token of each whole prompt that the first row belongs to.

    Raises:
        UserError: If the layers of this model read more than one stream.
    """
    require_one_stream(model)
    # Label words are not asked for: they would run on behind the prompts.
    asked = prompts.without_labels()
    run = prepare_run(model, asked, share_prefix=False, scoring="mean")
    found = torch.zeros(prompts.n, len(model.parts), model.width)
    for indices in batches_of(run, prompts.n):
        with _given(model, inputs[indices], layers, first):
            batch = capture(
                model, asked.select(indices), _OUTPUTS, batch_size=len(indices), share_prefix=False
            )
        assert batch.attention_output is not None
        found[indices] = batch.attention_output
    return found


def _given(
    model: LanguageModel, inputs: Tensor, layers: tuple[int, ...], first: int
) -> AbstractContextManager[None]:
    if not layers:
        return nullcontext()
    places = {layer: place for place, layer in enumerate(layers)}

    def given(site: Any, layer: int, computed: Tensor) -> Tensor:
        rows = inputs[:, places[layer], : computed.shape[1] - first]
        computed[:, first : first + rows.shape[1]] = rows.to(computed)
        return computed

    return patch(model, CapturePlan(sites=("residual_before",), layers=layers, positions="all"), given)
