"""The shares of the last token's attention on the parts of in-context prompts, of one draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...hooks.capture import stream
from ...hooks.plan import CapturePlan
from ...hooks.storage import scratch_zeros
from ...models.loading import LanguageModel
from ...probes import AttentionShares, attention_shares, bootstrap_mean
from ...seeds import derive_seed
from ..cell import Cell
from .config import AttentionConfig
from .prompt_parts import PARTS, part_members

_NUMBERS_AT_ONCE = 2**19

PLAN = CapturePlan(sites=("pattern",), columns="all")


@dataclass(frozen=True, eq=False)
class DrawShares:
    """What one draw of demonstrations leaves.

    Attributes:
        control: ``none`` or ``permuted_labels``.
        cell: The draw.
        layers: The layers, counted from 0.
        mass: The shares of its N queries on `PARTS`.
        prediction: What the model answers, ``[N]``.
    """

    control: str
    cell: Cell
    layers: tuple[int, ...]
    mass: AttentionShares
    prediction: Tensor


def measure_shares(config: AttentionConfig, model: LanguageModel, cell: Cell, control: str) -> DrawShares:
    """Run the queries of a draw in context, one batch after another, and keep their shares, on disk if large.

    Args:
        config: What is asked.
        model: The model.
        cell: The draw.
        control: What it is called.
    """
    prompts = cell.prompts.icl
    shares = uniform = torch.empty(0)
    prediction = torch.empty(prompts.n, dtype=torch.int64)
    layers: tuple[int, ...] = ()
    batches = stream(
        model,
        prompts,
        PLAN,
        batch_size=config.batch_size,
        scoring=config.scoring,
        setting="icl",
        engine=config.engine,
        progress="icl" if control == "none" else control.replace("_", " "),
    )
    for indices, batch in batches:
        assert batch.pattern is not None and batch.visible is not None and batch.prediction is not None
        layers, width = batch.layers, batch.columns.shape[-1]
        members = [
            part_members(prompts.spans(index), width, prompts.gold[index], int(predicted))
            for index, predicted in zip(indices.tolist(), batch.prediction, strict=True)
        ]
        mass = attention_shares(batch.pattern, batch.visible, torch.stack(members))
        if not len(shares):
            shares, uniform = (
                scratch_zeros(prompts.n, *each.shape[1:], dtype=each.dtype)
                for each in (mass.shares, mass.uniform)
            )
        shares[indices], uniform[indices], prediction[indices] = mass.shares, mass.uniform, batch.prediction
    return DrawShares(control, cell, layers, AttentionShares(shares, uniform), prediction)


def share_rows(config: AttentionConfig, draws: Sequence[DrawShares]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the tables ``heads`` and ``layers``.

    Args:
        config: What is asked.
        draws: The draws.
    """
    heads: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for draw in draws:
        key = {"control": draw.control, "seed": draw.cell.seed}
        for place, layer in enumerate(draw.layers):
            # One layer at a time, and of many queries some heads: they and their resamples would fill the memory.
            shares = draw.mass.shares[:, place]
            even = draw.mass.uniform[:, place].mean(0).expand(shares.shape[1:])
            step = max(1, _NUMBERS_AT_ONCE // shares[:, 0].numel())
            of_heads = [bootstrapped(config, some, draw.cell.seed) for some in shares.split(step, dim=1)]
            spread = [torch.cat(each) for each in zip(*of_heads, strict=True)]
            for head in range(shares.shape[1]):
                heads += _rows(
                    {**key, "layer": layer, "head": head}, [part[head] for part in (*spread, even)]
                )
            mean = bootstrapped(config, shares.mean(1), draw.cell.seed)
            layers += _rows({**key, "layer": layer}, [*mean, even.mean(0)])
    return {"heads": heads, "layers": layers}


def bootstrapped(config: AttentionConfig, values: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean over queries of ``[N, …]`` with the ends of its interval."""
    interval = bootstrap_mean(
        values, seed=derive_seed("bootstrap", seed), resamples=config.resamples, level=config.level
    )
    return interval.estimate, interval.low, interval.high


def _rows(key: dict[str, Any], columns: Sequence[Tensor]) -> list[dict[str, Any]]:
    names = ("share", "low", "high", "even")
    numbers = [column.tolist() for column in columns]
    return [
        {**key, "part": part, **dict(zip(names, (column[place] for column in numbers), strict=True))}
        for place, part in enumerate(PARTS)
    ]
