"""What a comparison will take, said before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...hooks.batching import bytes_per_prompt, choose_batch_size
from ...hooks.forward import run_forward
from ...models.loading import LanguageModel
from ..cell import Cell
from ..configuration import CompareConfig
from .finetuned import comparison_recipe

_PROBED_TOKENS = 32
# A backward pass costs about twice a forward.
_TRAINING_FACTOR = 3


@dataclass(frozen=True)
class Estimate:
    """Memory and time of one draw.

    Attributes:
        model_bytes: Weights.
        kept_bytes: The two pretrained captures, and the finetuned attention outputs.
        working_bytes: One batch while it runs.
        seconds: Forwards and training of one draw, from a timed forward; not the search for a learning rate.
        draws: How many draws.
    """

    model_bytes: int
    kept_bytes: int
    working_bytes: int
    seconds: float
    draws: int

    def describe(self) -> str:
        """Return one line."""
        total = (self.model_bytes + self.kept_bytes + self.working_bytes) / 1e9
        each = " a draw" if self.draws > 1 else ""
        return (
            f"estimate: {total:.2f} GB ({self.model_bytes / 1e9:.2f} model, {self.kept_bytes / 1e9:.2f} captures, "
            f"{self.working_bytes / 1e9:.2f} work), about {max(1, round(self.seconds))} s{each} "
            "before any search for a learning rate"
        )


def estimate_comparisons(
    model: LanguageModel, planned: Sequence[tuple[Cell, Sequence[CompareConfig]]]
) -> Estimate:
    """Estimate what comparisons take, from the prompts' lengths and one timed forward.

    Args:
        model: The model.
        planned: For each number of shots the first draw, and the comparisons that are made on it.
    """
    tokens = kept = working = 0
    for cell, configs in planned:
        prompts = cell.prompts
        queries = [len(ids) for ids in prompts.zero_shot.query_ids]
        past = len(prompts.icl.prefix_ids)
        layers, heads = model.n_layers, model.geometry.heads
        kept = max(kept, len(queries) * layers * 4 * (3 * model.width + 2 * heads * max(queries)))
        size = configs[0].batch_size
        if size == "auto":
            size = choose_batch_size(model, max(queries), past)
        working = max(working, int(size) * bytes_per_prompt(model, max(queries), past))
        # The zero-shot setting is that of the first number of shots.
        runs = len(configs) + 1 + (cell is planned[0][0])
        training = sum(len(sequence.ids) for sequence in prompts.training)
        epochs = sum(0 if config.finetuned else comparison_recipe(config).epochs for config in configs)
        tokens += runs * sum(queries) + past + _TRAINING_FACTOR * epochs * training
    return Estimate(
        sum(parameter.nbytes for parameter in model.module.parameters()),
        kept,
        working,
        tokens * _seconds_per_token(model),
        len(planned[0][1][0].seeds),
    )


def _seconds_per_token(model: LanguageModel) -> float:
    tokens = torch.ones(4, _PROBED_TOKENS, dtype=torch.long)
    exists = torch.ones_like(tokens, dtype=torch.bool)
    run_forward(model, tokens, exists)
    start = time.perf_counter()
    run_forward(model, tokens, exists)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / tokens.numel()
