"""Sites that are written in a layer's attention call: queries, keys and values, scores and pattern."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .attention_arguments import AfterCall, AttentionArguments, SoftmaxArguments
from .attention_sites import once, own_vectors, refuse_unread_options, rows_of_call
from .functional import AttentionListeners, Operand, listen_to_softmax
from .registry import listen_to_attention
from .row_writer import RowWriter
from .rows import softmax_rows
from .written_rows import WrittenRows


def write_in_calls(writer: RowWriter) -> AbstractContextManager[None]:
    """Write in the attention call of each layer what the plan asks for."""
    parts, model = writer.resolved.parts, writer.resolved.model
    if model.family.route == "registry":
        return listen_to_attention(
            model.attention_implementation, {part.attention: _in_attention(writer, part) for part in parts}
        )
    return listen_to_softmax({part.attention: _OwnAttention(writer, part).listeners for part in parts})


def _in_attention(writer: RowWriter, part: LayerParts) -> Callable[[AttentionArguments], AfterCall | None]:
    def write(call: AttentionArguments) -> AfterCall | None:
        wanted = writer.wanted_here
        if wanted is None:
            return None
        call.query = _written_vectors(writer, "queries", part, call.query)
        call.key = _written_vectors(writer, "keys", part, call.key)
        call.value = _written_vectors(writer, "values", part, call.value)
        if not writer.asks_for("scores", "pattern"):
            return None
        refuse_unread_options(part, call.mask, call.options, writer.resolved.model.attention_implementation)
        if call.options.get("dropout"):
            raise UserError(
                f"layer {part.index} drops some of its attention at random, which rows that are written would not: "
                "call model.eval() before patching scores or pattern"
            )
        found = rows_of_call(call, wanted, "softmax_input")
        for earlier in call.written:
            found = earlier.over(found, wanted)
        written = [each for each in writer.rewrite(part, found) if each is not None]
        if not written:
            return None
        changed = torch.stack([each.changed for each in written]).any(dim=0)
        last = WrittenRows(written[-1].places, written[-1].rows, changed)
        call.written.append(last)
        return lambda result: _with_rows(writer, call, last, result)

    return write


def _with_rows(writer: RowWriter, call: AttentionArguments, written: WrittenRows, result: Any) -> Any:
    """Put what the pattern makes of the values into the result of a call, for the heads and rows that changed."""
    output: Tensor = result[0] if isinstance(result, tuple) else result
    pattern, value = written.rows.pattern(), call.all_values()[..., : written.rows.scores.shape[-1], :]
    grouped = rearrange(pattern, "b p (kv group) k -> b p kv group k", kv=value.shape[1])
    with torch.autocast(value.device.type, enabled=False):
        mixed = einsum(grouped, value.float(), "b p kv group k, b kv k d -> b p kv group d")
    mixed = rearrange(mixed, "b p kv group d -> b p (kv group) d")
    by_token = output.transpose(1, 2) if call.heads_first else output
    by_token = _put_heads(writer, by_token, mixed, written.changed)
    output = by_token.transpose(1, 2) if call.heads_first else by_token
    if not isinstance(result, tuple):
        return output
    first, *others = result[1:]
    if isinstance(first, Tensor):
        # Eager attention gives its pattern as well, which `output_attentions` shows.
        room = first.shape[-1] - pattern.shape[-1]
        pattern = torch.nn.functional.pad(pattern, (0, room))
        first = _put_heads(writer, first.transpose(1, 2), pattern, written.changed).transpose(1, 2)
    return (output, first, *others)


def _put_heads(writer: RowWriter, tensor: Tensor, new: Tensor, changed: Tensor) -> Tensor:
    """Put rows ``[B, P, H, …]`` into ``[B, S, H, …]`` for the heads that changed."""
    return writer.put(tensor, torch.where(changed[..., None], new.to(tensor), writer.rows_of(tensor)))


def _written_vectors(writer: RowWriter, site: Operand, part: LayerParts, vectors: Tensor) -> Tensor:
    """Write the rows of this forward's own tokens in ``[B, heads, K, D]`` or ``[B * heads, K, D]``."""
    if not writer.asks_for(site):
        return vectors
    wanted = writer.wanted_here
    assert wanted is not None
    own = own_vectors(writer, site, part, vectors)
    taken = writer.rows_of(own)
    single = once(writer, site, part, taken)
    new = writer.value(site, part, single)
    group = taken.shape[2] // single.shape[2]
    new = repeat(new, "b p kv d -> b p (kv group) d", group=group)
    own = rearrange(writer.put(own, new), "b s h d -> b h s d")
    # Cached tokens stand before those of this forward, and room for newer ones behind them.
    every = vectors.reshape(len(wanted.rows), -1, *vectors.shape[-2:])
    last = min(every.shape[2], wanted.total)
    return every.slice_scatter(own, 2, last - wanted.tokens, last).reshape(vectors.shape)


class _OwnAttention:
    """Writes in the attention of a layer that calls the softmax itself."""

    def __init__(self, writer: RowWriter, part: LayerParts) -> None:
        self.writer, self.part = writer, part
        self.query: Tensor | None = None

    @property
    def listeners(self) -> AttentionListeners:
        vectors = self.writer.asks_for("queries", "keys", "values")
        return AttentionListeners(
            self.on_softmax,
            _in_attention(self.writer, self.part),
            self.on_operand if vectors else None,
            self.on_factors if vectors else None,
        )

    def on_factors(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Write the queries and keys of what looks like their product; the softmax tells whether it was."""
        writer, wanted = self.writer, self.writer.wanted_here
        if wanted is None or not writer.asks_for("queries", "keys"):
            return one, other
        geometry = writer.resolved.model.geometry_of(self.part.index)
        queries = len(wanted.rows) * geometry.heads * wanted.tokens * geometry.head_width
        if (
            min(one.dim(), other.dim()) < 3
            or one.numel() != queries
            or tuple(one.shape[-2:]) != (wanted.tokens, geometry.head_width)
            or other.shape[-2] != geometry.head_width
            or other.shape[-1] < wanted.tokens
        ):
            return one, other
        query = _written_vectors(writer, "queries", self.part, one)
        key = _written_vectors(writer, "keys", self.part, other.transpose(-1, -2)).transpose(-1, -2)
        self.query = query
        writer.presume(self.part)
        return query, key

    def on_operand(self, site: Operand, vectors: Tensor) -> Tensor | None:
        """Write the values, and check that the queries were those of the softmax."""
        writer = self.writer
        if writer.wanted_here is None:
            return None
        if site == "values":
            return _written_vectors(writer, site, self.part, vectors)
        if site == "queries" and writer.asks_for("queries", "keys"):
            query, self.query = self.query, None
            if query is not vectors:
                raise writer.not_multiplied(self.part)
            writer.confirm(self.part)
        return None

    def on_softmax(self, call: SoftmaxArguments) -> AfterCall | None:
        writer, wanted = self.writer, self.writer.wanted_here
        if wanted is None or not writer.asks_for("scores", "pattern"):
            return None
        found = softmax_rows(call.scores, call.mask, wanted)
        for earlier in call.written:
            found = earlier.over(found, wanted)
        scores, pattern = writer.rewrite(self.part, found)
        if scores is not None:
            call.scores = self._put(call.scores, scores.rows.scores, scores.changed)
        if pattern is None:
            return None
        call.written.append(pattern)
        return lambda result: self._put(result, pattern.rows.pattern(), pattern.changed)

    def _put(self, tensor: Tensor, new: Tensor, changed: Tensor) -> Tensor:
        """Put rows ``[B, P, H, K]`` into ``[B, H, S, K]`` or ``[B * H, S, K]``."""
        by_token = rearrange(tensor.view(len(new), -1, *tensor.shape[-2:]), "b h s k -> b s h k")
        by_token = _put_heads(self.writer, by_token, new, changed)
        return rearrange(by_token, "b s h k -> b h s k").reshape(tensor.shape)
