"""Sites that are read in a layer's attention call: scores and pattern, queries, keys and values."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .forward_rows import ForwardRows
from .functional import AttentionListeners, Operand, listen_to_softmax
from .registry import AfterCall, Listener, listen_to_attention, other_attention
from .rows import Rows, keep_columns, score_rows, softmax_rows, take_rows


def listen_to_calls(rows: ForwardRows) -> AbstractContextManager[None]:
    """Keep what the attention call of each layer tells of the sites that the plan asks for."""
    parts, model = rows.resolved.parts, rows.resolved.model
    if model.family.route == "registry":
        return listen_to_attention(
            model.attention_implementation, {part.attention: _on_attention(rows, part) for part in parts}
        )
    return listen_to_softmax({part.attention: _on_own_attention(rows, part) for part in parts})


# Recording builds no graph: recomputing layers under gradient checkpointing must save the same tensors.
def _on_attention(rows: ForwardRows, part: LayerParts) -> Listener:
    with_scores, with_values = rows.asks_for("scores", "pattern"), rows.asks_for("values")

    @torch.no_grad()
    def keep_values(value: Tensor, result: Any) -> None:
        _keep_vectors(rows, "values", part, value)

    @torch.no_grad()
    def listen(
        module: torch.nn.Module, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]
    ) -> AfterCall | None:
        if rows.wanted_here is None:
            return None
        _keep_vectors(rows, "queries", part, query)
        _keep_vectors(rows, "keys", part, key)
        if with_scores:
            _keep_scores(rows, part, query, key, mask, options)
        return keep_values if with_values else None

    return listen


def _keep_scores(
    rows: ForwardRows, part: LayerParts, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]
) -> None:
    wanted, plan = rows.wanted_here, rows.resolved.plan
    assert wanted is not None
    refuse_unread_options(part, mask, options, rows.resolved.model.attention_implementation)
    # A cache of fixed size has room for tokens behind the newest.
    key = key[..., : wanted.total, :]
    if isinstance(mask, Tensor):
        mask = mask[..., : key.shape[-2]]
    if "pattern" not in plan.sites:
        # Only the wanted columns are computed; the pattern alone needs every key.
        key = key[..., -min(wanted.width, key.shape[-2]) :, :]
    found = score_rows(
        query,
        key,
        mask,
        wanted,
        scaling=options.get("scaling"),
        softcap=options.get("softcap"),
        window=options.get("sliding_window"),
        sinks=options.get("s_aux"),
        space=plan.score_space,
    )
    _keep_rows(rows, part, found)


def _on_own_attention(rows: ForwardRows, part: LayerParts) -> AttentionListeners:
    resolved = rows.resolved
    space, with_scores = resolved.plan.score_space, rows.asks_for("scores", "pattern")

    @torch.no_grad()
    def on_softmax(scores: Tensor, mask: Tensor | None) -> None:
        wanted = rows.wanted_here
        if wanted is None or not with_scores:
            return
        if space == "raw" and resolved.model.family.name == "falcon":
            raise UserError(
                "Falcon gives no raw scores where it calls the softmax itself, as here: take score space "
                f"scaled, or {other_attention(resolved.model.attention_implementation)}"
            )
        _keep_rows(rows, part, softmax_rows(scores, mask, wanted))

    @torch.no_grad()
    def on_product(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> None:
        wanted = rows.wanted_here
        if wanted is not None and with_scores:
            _keep_rows(rows, part, score_rows(query, key, mask, wanted, scaling=scale, space=space))

    @torch.no_grad()
    def on_operand(site: Operand, vectors: Tensor) -> None:
        if rows.wanted_here is not None:
            _keep_vectors(rows, site, part, vectors)

    with_operands = rows.asks_for("queries", "keys", "values")
    return AttentionListeners(on_softmax, on_product, on_operand if with_operands else None)


def _keep_rows(rows: ForwardRows, part: LayerParts, found: Rows) -> None:
    assert rows.wanted is not None
    visible = keep_columns(found.visible, rows.wanted)
    if rows.asks_for("scores"):
        # Masked from a fresh tensor, so nothing of the model's is held.
        scores = keep_columns(found.scores, rows.wanted).masked_fill(~visible, 0.0)
        rows.keep("scores", part, scores)
    if rows.asks_for("pattern"):
        rows.keep("pattern", part, keep_columns(found.pattern(), rows.wanted).clone())
    rows.keep_visible(part, visible.clone())


def _keep_vectors(rows: ForwardRows, site: Operand, part: LayerParts, vectors: Tensor) -> None:
    """Keep the rows of this forward's own tokens, of ``[B, heads, K, D]`` or ``[B * heads, K, D]``.

    Keys and values of cached tokens stand in front of them.
    """
    if not rows.asks_for(site):
        return
    wanted, model = rows.wanted_here, rows.resolved.model
    assert wanted is not None
    vectors = vectors.reshape(len(wanted.rows), -1, *vectors.shape[-2:])
    # A cache of fixed size has room for tokens behind the newest.
    own = vectors[..., : wanted.total, :][..., -wanted.tokens :, :]
    if own.shape[2] != wanted.tokens:
        raise rows.of_other_shape(part, site, f"of {own.shape[2]} tokens")
    taken = take_rows(rearrange(own, "b h s d -> b s h d"), wanted.rows)
    if site != "queries":
        taken = _once(taken, model.geometry_of(part.index).key_value_heads)
    rows.keep(site, part, taken)


def _once(taken: Tensor, heads: int) -> Tensor:
    """Return keys or values that the model repeated for each query head of their group once."""
    if taken.shape[2] == heads or taken.shape[2] % heads:
        return taken
    grouped = rearrange(taken, "b p (kv group) d -> b p kv group d", kv=heads)
    once = grouped[..., 0, :]
    # What is no repetition keeps its heads, and is refused for them.
    return once if torch.equal(grouped, once[..., None, :].expand_as(grouped)) else taken


def refuse_unread_options(part: LayerParts, mask: Any, options: dict[str, Any], implementation: str) -> None:
    """Refuse an attention call whose scores this module would get wrong.

    Args:
        part: The layer.
        mask: The call's mask.
        options: Its keyword arguments.
        implementation: The attention implementation that is in use.

    Raises:
        UserError: If the call has a mask or a bias of a kind that is not read.
    """
    if mask is not None and not isinstance(mask, Tensor):
        raise UserError(
            f"layer {part.index} got a {type(mask).__name__} as attention mask, which hides what is visible: "
            f"{other_attention(implementation)}"
        )
    if isinstance(options.get("position_bias"), Tensor):
        raise UserError(
            f"layer {part.index} adds a position_bias inside its attention function, which is not read: leave this "
            "layer out of the plan's layers"
        )
