"""A capture's attention as rows that figures take, and the figures that it draws of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, shown
from . import style
from .attention_heads import attention_heads_figure
from .attention_last_row import attention_last_row_figure, head_mean
from .attention_map import attention_map_figure
from .attention_rows import AttentionRows, Kind
from .prompt_marks import SETTING_NAMES, prompt_marks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def captured_rows(capture: Any, prompt: int = 0, *, kind: Kind | None = None) -> AttentionRows:
    """Return the rows of attention that a capture holds of one prompt.

    Args:
        capture: A capture with its prompts, and with patterns or scores.
        prompt: Which prompt, counted from 0.
        kind: ``pattern`` or ``scores``; None is the pattern where there is one.

    Raises:
        UserError: If the capture does not hold that, or does not know its tokens.
    """
    held = [name for name in ("pattern", "scores") if getattr(capture, name) is not None]
    if not held or kind not in (None, *held):
        raise UserError(
            f"the capture holds no {kind or 'pattern or scores'}: record it with CapturePlan(sites=('pattern',))"
        )
    if capture.prompts is None:
        raise UserError("the capture does not know its tokens, as a tap's: draw one that capture() returned")
    if not 0 <= prompt < capture.n:
        raise UserError(f"there is no prompt {prompt}: the capture has prompts 0 to {capture.n - 1}")
    chosen: Kind = kind or held[0]  # type: ignore[assignment]
    values, visible = (array[prompt].numpy() for array in (getattr(capture, chosen), capture.visible))
    if capture.row_tokens.ndim == 1:
        values, visible = values[:, None], visible[:, None]
    row_tokens = np.atleast_1d(capture.row_tokens[prompt].numpy())
    there = row_tokens >= 0
    tokens = capture.prompts[prompt].tokens
    parts, demonstrations = _parts(capture.prompts[prompt])
    # A label that is read behind the prompt has no text there.
    texts, parts, demonstrations = [*tokens, "(label)"], [*parts, ""], [*demonstrations, None]
    rows = [int(place) for place in row_tokens[there]]
    first, width = capture.first_column, min(values.shape[-1], len(tokens) - capture.first_column)
    columns = range(first, first + width)
    return AttentionRows(
        values=np.swapaxes(values[:, there][..., :width], 1, 2),
        visible=np.swapaxes(visible[:, there][..., :width], 1, 2),
        layers=tuple(capture.layers),
        heads=tuple(range(values.shape[2])),
        row_tokens=tuple(texts[place] for place in rows),
        column_tokens=tuple(texts[place] for place in columns),
        row_spans=prompt_marks([parts[place] for place in rows], [demonstrations[place] for place in rows]),
        column_spans=prompt_marks(
            [parts[place] for place in columns], [demonstrations[place] for place in columns]
        ),
        kind=chosen,
        setting=SETTING_NAMES.get(capture.prompts.setting or "", capture.prompts.setting or "attention"),
    )


def capture_figure(
    capture: Any,
    *,
    prompt: int = 0,
    layer: int | None = None,
    head: int | str | None = None,
    kind: Kind | None = None,
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw what a capture holds of one prompt: heads of a layer, one head, or one row over layers.

    Args:
        capture: The capture.
        prompt: Which prompt, counted from 0.
        layer: Which layer, counted from 0 or from the end; None is the only one, or where there are several, and of
            captures of one row, the last row over all layers.
        head: Which head; ``mean`` is the mean over heads; None is all of them side by side, or of rows over layers
            their mean.
        kind: ``pattern`` or ``scores``; None is the pattern where there is one.
        width: In inches.

    Raises:
        UserError: If the capture does not hold that.
    """
    rows = captured_rows(capture, prompt, kind=kind)
    if isinstance(head, str) and head != "mean":
        raise UserError(f"head {shown(head)} is neither a number nor 'mean'")
    if isinstance(head, int) and head not in rows.heads:
        raise UserError(f"there is no head {head}: the capture has heads 0 to {rows.heads[-1]}")
    number = head if isinstance(head, int) else None
    layers, is_one_row = len(rows.layers), len(rows.row_tokens) == 1
    if is_one_row or (layer is None and layers > 1):
        chosen = None if layer is None else (_layer(rows, layer),)
        return attention_last_row_figure(rows, number, layers=chosen, width=width)
    at = rows.layers[0] if layer is None else _layer(rows, layer)
    if head == "mean":
        mean = replace(
            rows, values=head_mean(rows)[:, None], visible=rows.visible.any(1, keepdims=True), heads=(0,)
        )
        title = f"{rows.name}, layer {at}, mean of {len(rows.heads)} heads"
        return attention_map_figure(mean, at, 0, width=width, title=title)
    if number is not None:
        return attention_map_figure(rows, at, number, width=width)
    return attention_heads_figure(rows, layers=(at,), width=width)


def _layer(rows: AttentionRows, layer: int) -> int:
    if layer in rows.layers:
        return layer
    if -len(rows.layers) <= layer < 0:
        return rows.layers[layer]
    raise UserError(f"there is no layer {layer}: the capture has layers {', '.join(map(str, rows.layers))}")


def _parts(prompt: Any) -> tuple[list[str], list[int | None]]:
    """Return of each token the part and the demonstration; of spans that overlap the first tells."""
    parts = ["" for _ in prompt.tokens]
    demonstrations: list[int | None] = [None for _ in prompt.tokens]
    for span in reversed(prompt.spans):
        for token in span.tokens:
            parts[token], demonstrations[token] = span.name, span.demonstration
    return parts, demonstrations
