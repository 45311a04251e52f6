"""The attention of one query, every token against every token, in each setting that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from einops import rearrange

from ...errors import UserError
from ...hooks.capture import capture
from ...hooks.captured import Capture
from ...hooks.plan import CapturePlan
from ...models.delta import Delta
from ...models.loading import LanguageModel
from ...tasks.prompts import PromptSet
from ..cell import Cell
from .config import AttentionConfig, Setting

MapName = Setting | Literal["text"]


@dataclass(frozen=True, eq=False)
class Mapped:
    """One query in one setting.

    Attributes:
        rows: Every token's row over all tokens, in the layers that are asked for.
        last: The last token's row over all tokens, in every layer.
    """

    rows: Capture
    last: Capture


def capture_maps(
    config: AttentionConfig,
    model: LanguageModel,
    cell: Cell,
    layers: tuple[int, ...],
    delta: Delta | None,
) -> dict[MapName, Mapped]:
    """Record the asked query in each setting.

    Args:
        config: What is asked.
        model: The model.
        cell: The draw.
        layers: Which layers.
        delta: What finetuning changed, where that setting is asked for.

    Raises:
        UserError: If a layer has no attention.
    """
    place = 0 if config.query is None else cell.queries.index(config.query)

    def mapped(prompts: PromptSet, setting: Setting) -> Mapped:
        return map_prompt(config, model, one_prompt(prompts, place), setting, layers)

    found: dict[MapName, Mapped] = {}
    for setting in config.settings:
        if setting == "ft":
            assert delta is not None
            with delta.applied(model):
                found[setting] = mapped(cell.prompts.zero_shot, setting)
        else:
            found[setting] = mapped(cell.prompts.icl if setting == "icl" else cell.prompts.zero_shot, setting)
    return found


def map_prompt(
    config: AttentionConfig,
    model: LanguageModel,
    prompt: PromptSet | str,
    setting: MapName,
    layers: tuple[int, ...],
) -> Mapped:
    """Record one prompt, or one text.

    Args:
        config: What is asked.
        model: The model.
        prompt: The prompt.
        setting: What the capture is said to be of.
        layers: Which layers' maps.

    Raises:
        UserError: If a layer has no attention, or the prompt does not fit.
    """
    rows = CapturePlan(sites=(config.map,), layers=layers, positions="prompt", columns="all")
    last = CapturePlan(sites=(config.map,), columns="all")
    found = (
        capture(model, prompt, plan, batch_size=1, setting=setting, engine=config.engine)
        for plan in (rows, last)
    )
    return Mapped(*found)


def one_prompt(prompts: PromptSet, place: int) -> PromptSet:
    """Return one of the prompts."""
    return PromptSet(
        prompts.prefix_ids,
        prompts.query_ids[place : place + 1],
        prompts.label_ids[place : place + 1],
        prompts.gold[place : place + 1],
        prompts.bos_length,
        prompts.prefix_spans,
        prompts.query_spans[place : place + 1],
    )


def check_heads(config: AttentionConfig, heads: int) -> tuple[int, ...]:
    """Return the heads that are mapped.

    Raises:
        UserError: If the model has no such head.
    """
    if config.heads == "all":
        return tuple(range(heads))
    unknown = next((head for head in config.heads if head >= heads), None)
    if unknown is not None:
        raise UserError(f"there is no head {unknown}: the model has heads 0 to {heads - 1} (--heads)")
    return config.heads


def map_arrays(config: AttentionConfig, mapped: Mapping[MapName, Mapped]) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each setting.

    ``map-SETTING`` has ``values`` ``[L, H, T, T]`` and ``visible`` ``[L, 1, T, T]``; ``last-SETTING`` has the last
    token's row in every layer, ``[L, H, 1, T]`` and ``[L, 1, 1, T]``. Both say which ``layers`` and ``heads``.
    """
    found = {}
    for setting, captures in mapped.items():
        found[f"map-{setting}"] = _arrays(config, captures.rows)
        found[f"last-{setting}"] = _arrays(config, captures.last)
    return found


def _arrays(config: AttentionConfig, recorded: Capture) -> dict[str, np.ndarray]:
    values = recorded.pattern if config.map == "pattern" else recorded.scores
    assert values is not None and recorded.visible is not None
    values, visible = values[0], recorded.visible[0]
    if values.ndim == 3:
        values, visible = (rearrange(each, "l h q -> l 1 h q") for each in (values, visible))
    heads = check_heads(config, values.shape[2])
    return {
        "values": rearrange(values[:, :, list(heads)], "l p h q -> l h p q").contiguous().numpy(),
        "visible": rearrange(visible, "l p h q -> l h p q").contiguous().numpy(),
        "layers": np.array(recorded.layers),
        "heads": np.array(heads),
    }


def map_token_rows(label_names: Sequence[str], mapped: Mapping[MapName, Mapped]) -> Iterator[dict[str, Any]]:
    """Yield one row a token of the mapped prompts."""
    for setting, captures in mapped.items():
        assert captures.rows.prompts is not None
        prompt = captures.rows.prompts[0]
        for span in prompt.spans:
            label = None if span.label is None else label_names[span.label]
            for token in span.tokens:
                yield {
                    "setting": setting,
                    "token": token,
                    "id": prompt.ids[token],
                    "text": prompt.tokens[token],
                    "part": span.name,
                    "demonstration": span.demonstration,
                    "label": label,
                }


def map_bytes(config: AttentionConfig, model: LanguageModel, tokens: int) -> int:
    """Return what the maps of prompts of so many tokens take, while the largest is made and kept."""
    layers = 1 if config.layers == "auto" else len(config.layers)
    rows = layers * model.geometry.heads * tokens**2
    # fp32 of the array, of the batch and of one layer's scores before they are kept; visibility for all heads.
    return len(config.settings) * 4 * rows + 3 * 4 * rows
