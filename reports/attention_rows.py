"""Attention rows of one prompt, as plain arrays: what every attention figure is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import UserError, shown

Kind = Literal["scores", "pattern"]
SpanName = Literal[
    "begin",
    "turn head",
    "demonstration input",
    "demonstration label",
    "separator",
    "demonstrations",
    "query",
    "turn tail",
    "between",
]
QUERY_SPANS = ("query", "turn tail")
"""The spans of a query's tokens: in a chat the end of its turn is part of it."""


@dataclass(frozen=True)
class SpanMark:
    """What neighbouring tokens are.

    Attributes:
        name: The part of the prompt. Folding makes ``demonstrations`` of the texts of all; ``between`` is what
            no span holds.
        start: The first token.
        stop: The token behind the last.
        demonstration: The demonstration it belongs to, counted from 0 (figures count from 1); None elsewhere.
    """

    name: SpanName
    start: int
    stop: int
    demonstration: int | None = None

    @property
    def places(self) -> range:
        """The places of its tokens."""
        return range(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class QueryShare:
    """How a setting with demonstrations divides the attention of the prompt's last token.

    Attributes:
        setting: The setting's name.
        on_demonstrations: The share on the demonstrations, ``[L, H]``.
        on_query: The share on the query's tokens, ``[L, H]``.
    """

    setting: str
    on_demonstrations: np.ndarray
    on_query: np.ndarray


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """Attention of some tokens (rows) to some tokens (columns) of one prompt, or a difference of two settings.

    Attributes:
        values: Scores or shares, ``[L, H, P, Q]``.
        visible: Which columns a row sees, ``[L, H or 1, P, Q]``.
        layers: Numbers of the layers, ``(L,)``.
        heads: Numbers of the heads, ``(H,)``.
        row_tokens: Texts of the rows' tokens, ``(P,)``; the last one is the prompt's last.
        column_tokens: Texts of the columns' tokens, ``(Q,)``.
        row_spans: What the rows are, in their order, without overlap.
        column_spans: What the columns are, in their order, without overlap.
        kind: ``scores`` are before the softmax, the ``pattern`` after it.
        setting: The setting's name, such as icl.
        minus: The setting that has been subtracted; empty where the values are no difference.
        query_shares: Of a difference of patterns over the query's tokens: what was left out of it.
        row_counts: How many tokens each folded row stands for, ``(P,)``; empty where no row is folded.
        column_counts: How many tokens each folded column stands for, ``(Q,)``; empty where none is folded.
        notes: Sentences that belong below every figure of these rows.
        limit: Of a difference: what the last colour stands for at least, so that several figures share their colours.
    """

    values: np.ndarray
    visible: np.ndarray
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    row_tokens: tuple[str, ...]
    column_tokens: tuple[str, ...]
    row_spans: tuple[SpanMark, ...]
    column_spans: tuple[SpanMark, ...]
    kind: Kind
    setting: str
    minus: str = ""
    query_shares: tuple[QueryShare, ...] = ()
    row_counts: tuple[int, ...] = ()
    column_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    limit: float = 0.0

    def __post_init__(self) -> None:
        """Refuse arrays and names that do not belong together."""
        expected = (len(self.layers), len(self.heads), len(self.row_tokens), len(self.column_tokens))
        if self.values.shape != expected or 0 in expected:
            raise UserError(
                f"attention values of shape {self.values.shape} do not hold {expected} layers, heads, rows and "
                "columns: give one name for each, and at least one of each"
            )
        shared = (expected[0], 1, *expected[2:])
        if self.visible.dtype != bool or self.visible.shape not in (expected, shared):
            raise UserError(
                f"visible columns are a bool array of shape {shared} or {expected}, and here they are "
                f"{self.visible.dtype} of shape {self.visible.shape}: give which columns each row sees"
            )
        _check_spans(self.row_spans, expected[2], "rows")
        _check_spans(self.column_spans, expected[3], "columns")
        if self.kind not in ("scores", "pattern"):
            raise UserError(f"attention is scores or pattern, not {shown(self.kind)}: name one of the two")

    @property
    def name(self) -> str:
        """What the values are of: a setting, or the difference of two."""
        return f"{self.setting} − {self.minus}" if self.minus else self.setting

    def select(
        self, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
    ) -> AttentionRows:
        """Return the rows of some layers and heads.

        Args:
            layers: Numbers of layers; None is all that are here.
            heads: Numbers of heads; None is all that are here.

        Raises:
            UserError: If one of them is not here.
        """
        at_layers = _places(self.layers, layers, "layer")
        at_heads = _places(self.heads, heads, "head")
        seen = self.visible[at_layers]
        return replace(
            self,
            values=self.values[at_layers][:, at_heads],
            visible=seen if seen.shape[1] == 1 else seen[:, at_heads],
            layers=tuple(self.layers[place] for place in at_layers),
            heads=tuple(self.heads[place] for place in at_heads),
            query_shares=tuple(
                QueryShare(
                    share.setting,
                    share.on_demonstrations[at_layers][:, at_heads],
                    share.on_query[at_layers][:, at_heads],
                )
                for share in self.query_shares
            ),
        )

    def drawn(self) -> np.ndarray:
        """Return the values, NaN where a row does not see a column, ``[L, H, P, Q]``."""
        return np.where(self.visible, self.values.astype(float), np.nan)


def demonstration_columns(rows: AttentionRows) -> np.ndarray:
    """Return which columns belong to a demonstration, ``[Q]``."""
    return _inside(rows.column_tokens, [span for span in rows.column_spans if span.demonstration is not None])


def query_rows(rows: AttentionRows) -> np.ndarray:
    """Return which rows are the query's, ``[P]``."""
    return _inside(rows.row_tokens, [span for span in rows.row_spans if span.name in QUERY_SPANS])


def query_columns(rows: AttentionRows) -> np.ndarray:
    """Return which columns are the query's, ``[Q]``."""
    return _inside(rows.column_tokens, [span for span in rows.column_spans if span.name in QUERY_SPANS])


def _inside(tokens: Sequence[str], spans: Sequence[SpanMark]) -> np.ndarray:
    found = np.zeros(len(tokens), dtype=bool)
    for span in spans:
        found[span.start : span.stop] = True
    return found


def _places(here: tuple[int, ...], asked: Sequence[int] | None, what: str) -> list[int]:
    if asked is None:
        return list(range(len(here)))
    if not asked:
        raise UserError(f"no {what} is named: name at least one of {shown(list(here))}")
    for number in asked:
        if number not in here:
            raise UserError(
                f"{what} {shown(number)} is not among the attention rows: choose from {shown(list(here))}"
            )
    return [here.index(number) for number in asked]


def _check_spans(spans: Sequence[SpanMark], length: int, axis: str) -> None:
    end = 0
    for span in spans:
        if not end <= span.start < span.stop <= length:
            raise UserError(
                f"the span {shown(span.name)} of the {axis} from {span.start} to {span.stop} lies behind {end} of "
                f"{length} tokens: give spans in their order, without overlap and inside the {axis}"
            )
        end = span.stop
