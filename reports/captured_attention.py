"""A capture's attention as rows that figures take, and the figures that it draws of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .attention_map import TWO_COLUMNS, attention_heads_figure, attention_map_figure, last_row_figure
from .attention_rows import AttentionRows, Kind, Token, named_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETTINGS = {"zsl": "zero-shot", "icl": "in context", "ft": "finetuned"}


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
    single = capture.row_tokens.ndim == 1
    values, visible = (array[prompt].numpy() for array in (getattr(capture, chosen), capture.visible))
    if single:
        values, visible = values[:, None], visible[:, None]
    row_tokens = np.atleast_1d(capture.row_tokens[prompt].numpy())
    there = row_tokens >= 0
    tokens = _tokens(capture.prompts[prompt])
    # A label that is read behind the prompt has no name there.
    named = [
        tokens[place] if place < len(tokens) else Token("(label)", "label") for place in row_tokens[there]
    ]
    width = min(values.shape[-1], len(tokens) - capture.first_column)
    columns = tokens[capture.first_column : capture.first_column + width]
    setting = capture.prompts.setting
    return AttentionRows(
        np.swapaxes(values[:, there][..., :width], 1, 2),
        np.swapaxes(visible[:, there][..., :width], 1, 2),
        tuple(capture.layers),
        tuple(range(values.shape[2])),
        tuple(named),
        columns,
        chosen,
        title=_SETTINGS.get(setting or "", setting or ""),
    )


def capture_figure(
    capture: Any,
    *,
    prompt: int = 0,
    layer: int | None = None,
    head: int | str | None = None,
    kind: Kind | None = None,
    width: float = TWO_COLUMNS,
) -> Figure:
    """Draw what a capture holds of one prompt: heads of a layer, one head, or one row over layers.

    Args:
        capture: The capture.
        prompt: Which prompt, counted from 0.
        layer: Which layer, counted from 0 or from the end; None is the only one, or where there are several, and of
            captures of one row, the last row over all layers.
        head: Which head; ``mean`` is the mean over heads; None is all of them side by side.
        kind: ``pattern`` or ``scores``; None is the pattern where there is one.
        width: In inches.

    Raises:
        UserError: If the capture does not hold that.
    """
    rows = captured_rows(capture, prompt, kind=kind)
    if isinstance(head, str) and head != "mean":
        raise UserError(f"head {head!r} is neither a number nor 'mean'")
    if isinstance(head, int) and head not in rows.heads:
        raise UserError(f"there is no head {head}: the capture has heads 0 to {rows.heads[-1]}")
    number = head if isinstance(head, int) else None
    layers, is_one_row = len(rows.layers), len(rows.rows) == 1
    if layer is None and (layers > 1 or is_one_row):
        return last_row_figure(rows, head=number, width=width)
    chosen = rows.layers[0] if layer is None else _layer(rows, layer)
    if is_one_row:
        return last_row_figure(rows.of_layer(chosen), head=number, width=width)
    if head is None and len(rows.heads) > 1:
        return attention_heads_figure(rows.of_layer(chosen), width=width)
    return attention_map_figure(rows.of_layer(chosen), head=number, width=width)


def _layer(rows: AttentionRows, layer: int) -> int:
    if layer in rows.layers:
        return layer
    if -len(rows.layers) <= layer < 0:
        return rows.layers[layer]
    raise UserError(f"there is no layer {layer}: the capture has layers {', '.join(map(str, rows.layers))}")


def _tokens(prompt: Any) -> tuple[Token, ...]:
    """Return the tokens of a whole prompt with the part that each is of; of spans that overlap the first tells."""
    parts = ["" for _ in prompt.tokens]
    demonstrations: list[int | None] = [None for _ in prompt.tokens]
    for span in reversed(prompt.spans):
        for token in span.tokens:
            parts[token], demonstrations[token] = span.name, span.demonstration
    labels = _label_texts(prompt)
    named = ["" if number is None else labels.get(number, "") for number in demonstrations]
    return named_tokens(prompt.tokens, parts, demonstrations, named)


def _label_texts(prompt: Any) -> dict[int, str]:
    """What each demonstration's label says."""
    found: dict[int, str] = {}
    for span in prompt.spans:
        if span.name == "demonstration_label":
            found[span.demonstration] = "".join(prompt.tokens[span.start : span.stop]).strip()
    return found
