"""The attention of one prompt as figures take it: rows of values over columns, and what the tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .token_names import token_name

Kind = Literal["pattern", "scores"]


@dataclass(frozen=True)
class Token:
    """One token, or several that are drawn as one.

    Attributes:
        name: What the axis shows.
        part: What it is part of, such as ``query`` or ``demonstration_label``.
        demonstration: Which demonstration it belongs to, counted from 0; None for none.
        label: That demonstration's label.
        is_first: Whether the prompt begins with it: attention that goes nowhere else goes there.
    """

    name: str
    part: str
    demonstration: int | None = None
    label: str = ""
    is_first: bool = field(default=False, compare=False)


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """Rows of attention of one prompt in one setting, or the difference of two.

    Attributes:
        values: ``[L, H, P, Q]``.
        visible: ``[L, H, P, Q]`` which cells there are: causality, padding and window allow them.
        layers: The layers, counted from 0.
        heads: The heads, counted from 0.
        rows: The tokens that attend.
        columns: The tokens that are attended to.
        kind: ``pattern`` (post-softmax) or ``scores`` (pre-softmax).
        title: What a figure says it shows.
        note: What limits it.
        is_difference: Whether values are differences, which have a zero in the middle.
    """

    values: np.ndarray
    visible: np.ndarray
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    rows: tuple[Token, ...]
    columns: tuple[Token, ...]
    kind: Kind
    title: str = ""
    note: str = ""
    is_difference: bool = False

    def __post_init__(self) -> None:
        """Check the shapes."""
        shape = (len(self.layers), len(self.heads), len(self.rows), len(self.columns))
        if self.values.shape != shape:
            raise ValueError(f"values {self.values.shape} are not [L, H, P, Q] = {shape}")
        object.__setattr__(self, "visible", np.broadcast_to(self.visible, shape))

    def of_layer(self, layer: int) -> AttentionRows:
        """Return one layer.

        Raises:
            KeyError: If it is not among the layers.
        """
        if layer not in self.layers:
            raise KeyError(f"no layer {layer}: there are {', '.join(map(str, self.layers))}")
        place = self.layers.index(layer)
        keep = slice(place, place + 1)
        return replace(self, values=self.values[keep], visible=self.visible[keep], layers=(layer,))

    def of_tokens(self, rows: Sequence[int], columns: Sequence[int]) -> AttentionRows:
        """Return some of the rows and columns, by their places."""
        index = np.ix_(range(len(self.layers)), range(len(self.heads)), list(rows), list(columns))
        return replace(
            self,
            values=self.values[index],
            visible=self.visible[index],
            rows=tuple(self.rows[place] for place in rows),
            columns=tuple(self.columns[place] for place in columns),
        )


def named_tokens(
    texts: Sequence[str],
    parts: Sequence[str],
    demonstrations: Sequence[int | None],
    labels: Sequence[str | None],
) -> tuple[Token, ...]:
    """Return the tokens of a whole prompt, each by a name that can be read.

    Args:
        texts: What each says.
        parts: The name of the span that each stands in.
        demonstrations: Which demonstration each belongs to; None for none.
        labels: The label of that demonstration.
    """
    return tuple(
        Token(token_name(text), part, None if number is None else int(number), label or "", place == 0)
        for place, (text, part, number, label) in enumerate(
            zip(texts, parts, demonstrations, labels, strict=True)
        )
    )
