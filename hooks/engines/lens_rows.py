"""The wanted rows of what TransformerLens's hooks give, each held against the others that must agree with it."""

from __future__ import annotations

from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor

from ...errors import UserError, reason_of, shown
from ...models.layer_parts import LayerParts
from ..forward_rows import ForwardRows
from ..plan import Site
from ..rows import keep_columns, take_rows
from ..site_shapes import site_shape
from ..tolerances import tolerance_of


class LensRows:
    """Keeps the rows of one layer's hooks.

    Attributes:
        rows: Where they are kept.
        part: The layer.
        bridge: The bridge.
        block: The layer's block in it.
    """

    def __init__(self, rows: ForwardRows, part: LayerParts, bridge: Any) -> None:
        self.rows, self.part, self.bridge = rows, part, bridge
        self.block = bridge.blocks[part.index]
        self._scores: tuple[Tensor, Tensor] | None = None
        self._pattern: tuple[Tensor, float] | None = None

    def on_scores(self, tensor: Tensor, hook: Any) -> None:
        """Take the wanted rows of the scores, ``[B, H, S, K]``."""
        taken = self._rows_of(tensor)
        # Hidden keys have the lowest number of the dtype, or something was added to it; CodeGen divides it as well.
        lowest = torch.finfo(tensor.dtype).min / 2 if tensor.dtype == torch.float16 else -1e30
        self._scores = taken, ~(taken <= lowest).all(dim=2, keepdim=True)
        self._keep_both()

    def on_pattern(self, tensor: Tensor, hook: Any) -> None:
        """Take the wanted rows of the pattern, ``[B, H, S, K]``."""
        self._pattern = self._rows_of(tensor), tolerance_of(tensor.dtype)
        self._keep_both()

    def _rows_of(self, tensor: Tensor) -> Tensor:
        assert self.rows.wanted is not None
        return take_rows(rearrange(tensor, "b h s k -> b s h k"), self.rows.wanted.rows)

    def _keep_both(self) -> None:
        """Keep scores and pattern, when both are there; which comes first is the architecture's affair.

        Raises:
            UserError: If the pattern is not the softmax of the scores.
        """
        wanted, part = self.rows.wanted, self.part
        if self._scores is None or self._pattern is None or wanted is None:
            return
        (scores, visible), (pattern, limit) = self._scores, self._pattern
        self.forget()
        if not _is_softmax(scores, visible, self._sinks(), pattern, limit):
            raise self._refusal("gives as hook_attn_scores something whose softmax is not its hook_pattern")
        visible = keep_columns(visible, wanted)
        if self.rows.asks_for("scores"):
            self.rows.keep("scores", part, keep_columns(scores, wanted).masked_fill(~visible, 0.0))
        if self.rows.asks_for("pattern"):
            self.rows.keep("pattern", part, keep_columns(pattern, wanted).clone())
        self.rows.keep_visible(part, visible.clone())

    def forget(self) -> None:
        """Forget what waits for its other half."""
        self._scores, self._pattern = None, None

    def on_vectors(self, site: Site, tensor: Tensor, hook: Any) -> None:
        """Keep vectors of tokens, ``[B, S, …]`` or where the hook says that its positions stand."""
        wanted = self.rows.wanted
        assert wanted is not None
        if hook.pos_dim is not None:
            tensor = tensor.movedim(hook.pos_dim, 1)
        if tensor.shape[:2] != (len(wanted.rows), wanted.tokens):
            raise self._refusal(f"gives {site} of shape {tuple(tensor.shape)}")
        taken = take_rows(tensor, wanted.rows)
        if site == "head_output":
            taken = self._through_output_weight(taken)
        model = self.rows.resolved.model
        shape = site_shape(site, model.geometry_of(self.part.index), model.width, wanted.width)
        if taken.shape[2:].numel() != torch.Size(shape).numel():
            raise self._refusal(f"gives {site} of {tuple(taken.shape[2:])} entries a token and not {shape}")
        self.rows.keep(site, self.part, taken.reshape(*taken.shape[:2], *shape))

    def _through_output_weight(self, taken: Tensor) -> Tensor:
        """Return what each head adds, by TransformerLens's own W_O, ``[B, P, H, d]``."""
        try:
            weight = self.block.attn.W_O.detach().float()
            by_head = taken.reshape(*taken.shape[:2], weight.shape[0], weight.shape[1])
        except (
            Exception
        ) as error:  # of heads that differ between layers, of quantised weights, of an unmapped map
            raise self._refusal(f"does not tell W_O head by head ({reason_of(error, 80)})") from error
        with torch.autocast(taken.device.type, enabled=False):
            return einsum(by_head, weight.to(taken.device), "b p h v, h v d -> b p h d")

    def _sinks(self) -> Tensor | None:
        return getattr(self.block.attn.original_component, "sinks", None)

    def _refusal(self, what: str) -> UserError:
        model = self.rows.resolved.model
        return UserError(
            f"TransformerLens {what} in layer {self.part.index} of {shown(model.name)} "
            f"({self.bridge.cfg.architecture}): take engine native or nnsight"
        )


def _is_softmax(scores: Tensor, visible: Tensor, sinks: Tensor | None, pattern: Tensor, limit: float) -> bool:
    logits = scores.masked_fill(~visible, float("-inf"))
    if sinks is not None:
        sink = rearrange(sinks.detach().float(), "h -> 1 1 h 1").expand(*logits.shape[:3], 1)
        logits = torch.cat([logits, sink.to(logits.device)], dim=-1)
    expected = torch.softmax(logits, dim=-1)[..., : scores.shape[-1]]
    largest = expected.amax(dim=-1, keepdim=True)
    return bool(((pattern - expected).abs() <= limit * largest).all())
