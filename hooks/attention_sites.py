"""Sites that are read in a layer's attention call: scores and pattern, queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from ..models.score_spaces import ScoreSpace
from .attention_arguments import AttentionArguments, SoftmaxArguments
from .forward_rows import ForwardRows
from .functional import AttentionListeners, Operand, listen_to_softmax
from .registry import listen_to_attention, other_attention
from .rows import Rows, Wanted, keep_columns, score_rows, softmax_rows, take_rows
from .running_forward import RunningForward


def listen_to_calls(rows: ForwardRows) -> AbstractContextManager[None]:
    """Keep what the attention call of each layer tells of the sites that the plan asks for."""
    parts, model = rows.resolved.parts, rows.resolved.model
    if model.family.route == "registry":
        return listen_to_attention(
            model.attention_implementation, {part.attention: _on_attention(rows, part) for part in parts}
        )
    return listen_to_softmax({part.attention: _on_own_attention(rows, part) for part in parts})


# Recording builds no graph: recomputing layers under gradient checkpointing must save the same tensors.
def _on_attention(rows: ForwardRows, part: LayerParts) -> Callable[[AttentionArguments], None]:
    plan, implementation = rows.resolved.plan, rows.resolved.model.attention_implementation
    with_scores = rows.asks_for("scores", "pattern")

    @torch.no_grad()
    def listen(call: AttentionArguments) -> None:
        wanted = rows.wanted_here
        if wanted is None:
            return
        _keep_vectors(rows, "queries", part, call.query)
        _keep_vectors(rows, "keys", part, call.key)
        _keep_vectors(rows, "values", part, call.value)
        if with_scores:
            refuse_unread_options(part, call.mask, call.options, implementation)
            # Only the wanted columns are computed; the pattern alone needs every key.
            keys = None if "pattern" in plan.sites else wanted.width
            found = rows_of_call(call, wanted, plan.score_space, keys)
            if "pattern" in plan.sites and plan.score_space != "softmax_input":
                # The softmax sees one space alone, whatever the scores are asked for in.
                seen = rows_of_call(call, wanted, "softmax_input")
                found = replace(found, written_pattern=seen.pattern())
            _keep_rows(rows, part, found, call)

    return listen


def rows_of_call(
    call: AttentionArguments, wanted: Wanted, space: ScoreSpace, keys: int | None = None
) -> Rows:
    """Compute the wanted rows of an attention call.

    Args:
        call: Its arguments.
        wanted: Rows to compute.
        space: Score space.
        keys: How many of the last keys are enough; None for all.
    """
    # A cache of fixed size has room for tokens behind the newest.
    key, mask = call.key[..., : wanted.total, :], call.mask
    if isinstance(mask, Tensor):
        mask = mask[..., : call.past + key.shape[-2]]
    own = key.shape[-2]
    prefix = None if call.prefix is None else call.prefix.prefix_keys
    if keys is not None:
        key = key[..., -min(keys, own) :, :]
        if prefix is not None:
            prefix = prefix[..., max(0, call.past + own - keys) :, :]
    return score_rows(
        call.query,
        key,
        mask,
        wanted,
        prefix_key=prefix,
        scaling=call.options.get("scaling"),
        softcap=call.options.get("softcap"),
        window=call.options.get("sliding_window"),
        sinks=call.options.get("s_aux"),
        space=space,
    )


def _on_own_attention(rows: ForwardRows, part: LayerParts) -> AttentionListeners:
    resolved = rows.resolved
    space, with_scores = resolved.plan.score_space, rows.asks_for("scores", "pattern")

    @torch.no_grad()
    def on_softmax(call: SoftmaxArguments) -> None:
        wanted = rows.wanted_here
        if wanted is None or not with_scores:
            return
        if space == "raw" and resolved.model.family.name == "falcon":
            raise UserError(
                "Falcon gives no raw scores where it calls the softmax itself, as here: take score space "
                f"scaled, or {other_attention(resolved.model.attention_implementation)}"
            )
        if resolved.model.family.name == "falcon" and call.mask is not None and call.mask.dtype == torch.bool:
            raise UserError(
                "with output_attentions=True transformers' Falcon adds its mask of True and False to the scores and "
                f"hides nothing: leave it out, or {other_attention(resolved.model.attention_implementation)}"
            )
        _keep_rows(rows, part, softmax_rows(call.scores, call.mask, wanted), call)

    @torch.no_grad()
    def on_operand(site: Operand, vectors: Tensor) -> None:
        if rows.wanted_here is not None:
            _keep_vectors(rows, site, part, vectors)

    with_operands = rows.asks_for("queries", "keys", "values")
    return AttentionListeners(on_softmax, _on_attention(rows, part), on_operand if with_operands else None)


def _keep_rows(
    rows: ForwardRows, part: LayerParts, found: Rows, call: AttentionArguments | SoftmaxArguments
) -> None:
    assert rows.wanted is not None
    for written in call.written:
        with_scores = rows.resolved.plan.score_space == "softmax_input"
        found = written.over(found, rows.wanted, with_scores=with_scores)
    visible = keep_columns(found.visible, rows.wanted)
    if rows.asks_for("scores"):
        # Masked from a fresh tensor, so nothing of the model's is held.
        scores = keep_columns(found.scores, rows.wanted).masked_fill(~visible, 0.0)
        rows.keep("scores", part, scores)
    if rows.asks_for("pattern"):
        rows.keep("pattern", part, keep_columns(found.pattern(), rows.wanted).clone())
    rows.keep_visible(part, visible.clone())


def _keep_vectors(rows: ForwardRows, site: Operand, part: LayerParts, vectors: Tensor) -> None:
    """Keep the rows of this forward's own tokens, of ``[B, heads, K, D]`` or ``[B * heads, K, D]``."""
    if not rows.asks_for(site):
        return
    wanted = rows.wanted_here
    assert wanted is not None
    own = own_vectors(rows, site, part, vectors)
    rows.keep(site, part, once(rows, site, part, take_rows(own, wanted.on(own.device))))


def own_vectors(forward: RunningForward, site: Operand, part: LayerParts, vectors: Tensor) -> Tensor:
    """Return a view of those of a forward's own tokens, ``[B, S, heads, D]``.

    Keys and values of cached tokens stand in front of them.

    Args:
        forward: The forward.
        site: What they are.
        part: The layer.
        vectors: ``[B, heads, K, D]`` or ``[B * heads, K, D]``.
    """
    wanted = forward.wanted_here
    assert wanted is not None
    vectors = vectors.reshape(len(wanted.rows), -1, *vectors.shape[-2:])
    # A cache of fixed size has room for tokens behind the newest.
    own = vectors[..., : wanted.total, :][..., -wanted.tokens :, :]
    if own.shape[2] != wanted.tokens:
        raise forward.of_other_shape(part, site, f"of {own.shape[2]} tokens")
    return rearrange(own, "b h s d -> b s h d")


def once(forward: RunningForward, site: Operand, part: LayerParts, taken: Tensor) -> Tensor:
    """Return keys or values ``[B, P, heads, D]`` that the model repeated for each query head of their group once.

    Whether the heads of a group are alike, their device is not asked before the forward is over.
    """
    heads = forward.resolved.model.geometry_of(part.index).key_value_heads
    found = taken.shape[2]
    if site == "queries" or found == heads or found % heads:
        return taken
    grouped = rearrange(taken, "b p (kv group) d -> b p kv group d", kv=heads)
    first = grouped[..., 0, :]
    alike = (grouped == first[..., None, :]).all()
    forward.require(alike, forward.of_other_shape(part, site, f"of {found} heads and not {heads}"))
    return first


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
