"""Whether a family's row says where the heads of a model lie: held by intervening in its own attention calls.

While one short prompt runs, each attention module is run again on what it was just given, once with a head silenced
and once for each changed piece of a weight. So a layer's finding depends on no other layer, and all of it costs a few
forwards of the attention modules. Directions are compared rather than sizes: a norm over all heads, or a gate, may
stand between a weight and the call.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import UserError
from ..models.loading import LanguageModel
from ..models.projections import Projection, projection_rows, stored_rows
from ..tasks.prompt_set import PromptSet
from .attention_calls import AttentionCall
from .attention_reruns import Rerun, examine_layers
from .changed_rows import other_rows_in, plain_weight

_DRAWS = 4
_NAMES: dict[Projection, str] = {"query": "W_Q", "key": "W_K", "value": "W_V"}


def unlike_heads(model: LanguageModel, prompts: PromptSet, tolerance: float) -> float:
    """Silence heads one by one, and see that only their entries of the output projection's input vanish.

    Args:
        model: The model.
        prompts: The first tokens of the first one run.
        tolerance: The largest deviation that is rounding.

    Returns:
        What remains of a silenced head, or by how much another one turns, relative to its size.

    Raises:
        UserError: If a layer's output projection takes something else; the sentence says which.
    """
    path = model.family.output_projection
    worst = [0.0]

    def examine(layer: Rerun) -> None:
        heads = layer.geometry.heads
        call, untouched = layer.run(None)
        called = _heads_of(call)
        if called != heads:
            raise layer.fault(f"attention has {called} heads and not {heads}")
        expected = layer.geometry.sizes["output"]
        if untouched is None or untouched.shape[-1] != expected:
            found = "is not run by it" if untouched is None else f"takes {untouched.shape[-1]} entries"
            raise layer.fault(f"attention gives {expected} entries and {path} {found}")
        base = _by_head(untouched, heads)
        if not base.abs().max() > 0:
            raise layer.fault("attention gives no number other than 0")
        for head in _some(heads):
            layer.watch.silenced = head
            try:
                _, given = layer.run(None)
            finally:
                layer.watch.silenced = None
            assert given is not None
            silent = _by_head(given, heads)
            left = (silent[head].abs().max() / base.abs().max()).item()
            turned = _turned(base, silent)
            turned[head] = 0.0
            deviation = max(left, turned.max().item())
            if not deviation <= tolerance:
                raise layer.fault(
                    f"{path} does not take what attention gives: with head {head} silenced it is given "
                    + (f"{left:.1g} of it" if left > tolerance else "other heads changed")
                )
            worst.append(deviation)

    examine_layers(model, prompts, examine)
    return max(worst)


def foreign_rows(model: LanguageModel, prompts: PromptSet, tolerance: float) -> float:
    """Change rows of one head of W_Q, W_K or W_V, and see that in its attention call only that head's vectors turn.

    Rows are changed in place, in one layer at a time, and put back bit for bit. Where attention shows its scores
    alone, one token is unlike all others and the change acts on it alone: a query's is seen in that row of the
    scores, a key's in that column, a value's in what the output projection takes.

    Args:
        model: The model.
        prompts: The first tokens of the first one run.
        tolerance: The largest deviation that is rounding.

    Returns:
        By how much another vector turns, relative to its length.

    Raises:
        UserError: If rows are those of another head or projection; the sentence says which.
    """
    layout = model.family.layout_of(model.module.config.get_text_config())
    dim = int(model.family.transposed)
    worst = [0.0]

    def examine(layer: Rerun) -> None:
        sizes = stored_rows(layout, layer.geometry)
        try:
            rows = projection_rows(layout, layer.geometry)
        except RuntimeError as error:
            raise layer.fault(f"layout {layout!r} does not go with {layer.geometry}") from error
        as_given = _Seen(layer, tolerance)
        one_apart = _Seen(layer, tolerance, one_apart=True) if as_given.shows_scores else as_given
        for projection in layer.part.projections:
            weight = plain_weight(layer.part, projection)
            if weight is None:
                continue
            if weight.shape[dim] != sizes[projection]:
                raise layer.fault(
                    f"the module of {_NAMES[projection]} has {weight.shape[dim]} rows and not {sizes[projection]}"
                )
            heads = layer.geometry.heads if projection == "query" else layer.geometry.key_value_heads
            by_head = rows[projection].view(heads, -1)
            for head in _some(heads):
                seen = as_given if projection == "value" else one_apart
                worst.append(_deviation(seen, weight, dim, by_head[head], (projection, head, heads)))

    examine_layers(model, prompts, examine)
    return max(worst)


def unchecked_rows(model: LanguageModel) -> str:
    """Return which layers' rows cannot be changed, as a note says it."""
    plain = [
        all(plain_weight(part, projection) is not None for projection in part.projections)
        for part in model.parts
    ]
    without = [part.index for part, known in zip(model.parts, plain, strict=True) if not known]
    if not without:
        return ""
    some = "no layer" if len(without) == len(plain) else f"not layer {without[0]} and {len(without) - 1} more"
    return f"{some}: weights are quantised or offloaded"


def _deviation(
    seen: _Seen, weight: Tensor, dim: int, rows: Tensor, whose: tuple[Projection, int, int]
) -> float:
    # A change that is drawn may happen to be one that scores hardly feel; rows of another head fail with every draw.
    draws = 1 if seen.orthogonal_to is None else _DRAWS
    for draw in range(draws):
        with other_rows_in(weight, dim, rows, orthogonal_to=seen.orthogonal_to, draw=draw):
            try:
                return seen.deviation(*whose)
            except UserError:
                if draw == draws - 1:
                    raise
    raise AssertionError


class _Seen:
    """What a change of rows turns in one layer's attention call."""

    def __init__(self, layer: Rerun, tolerance: float, *, one_apart: bool = False) -> None:
        self.layer, self.tolerance = layer, tolerance
        self.token = len(layer.hidden) // 2
        self.hidden: Tensor | None = None
        self.orthogonal_to: Tensor | None = None
        if one_apart:
            # All tokens but one are alike, and a change that is orthogonal to them acts on that one.
            self.hidden = layer.hidden[:1].repeat(len(layer.hidden), 1)
            self.hidden[self.token] = layer.hidden[self.token]
            self.orthogonal_to = layer.hidden[0]
        self.call, self.given = layer.run(self.hidden)

    @property
    def shows_scores(self) -> bool:
        """Whether the call shows its scores, and neither queries nor keys."""
        return self.call.scores is not None

    def deviation(self, projection: Projection, head: int, heads: int) -> float:
        """Return how much turned that should not; raise if what should turn did not."""
        call, given = self.layer.run(self.hidden)
        if call.scores is None:
            changes = self._of_vectors(call, projection)
        else:
            changes = self._of_scores(call, given, projection)
        worst = 0.0
        for name, turned, wanted in changes:
            group = len(turned) // heads
            # The model may have repeated a key or value for each query head before its call.
            if wanted and len(turned) not in (heads, self.layer.geometry.heads):
                raise self.layer.fault(
                    f"the call has {len(turned)} heads of {name}, {_NAMES[projection]} {heads}"
                )
            own = torch.zeros(len(turned), dtype=torch.bool)
            if wanted:
                own[head * group : (head + 1) * group] = True
                still = own & ~(turned > self.tolerance)
                if still.any():
                    raise self._fault(
                        projection, head, f"does not turn {name} of head {int(still.nonzero()[0])}"
                    )
            foreign = ~own & ~(turned <= self.tolerance)
            if foreign.any():
                raise self._fault(projection, head, f"turns {name} of head {int(foreign.nonzero()[0])}")
            if not own.all():
                worst = max(worst, turned[~own].max().item())
        return worst

    def _fault(self, projection: Projection, head: int, what: str) -> UserError:
        return self.layer.fault(
            f"rows called {_NAMES[projection]} of head {head} are not its own: changing them {what}"
        )

    def _of_vectors(self, call: AttentionCall, projection: Projection) -> Iterator[tuple[str, Tensor, bool]]:
        # A layer without W_V may take its keys as values; one without W_K takes both from below.
        keys_are_values = "value" not in self.layer.part.projections
        for name, own in (("queries", "query"), ("keys", "key"), ("values", "value")):
            turned = _turned(getattr(self.call, name), getattr(call, name))
            if name == "values" and keys_are_values and projection == "key":
                continue
            yield name, turned, own == projection

    def _of_scores(
        self, call: AttentionCall, given: Tensor | None, projection: Projection
    ) -> Iterator[tuple[str, Tensor, bool]]:
        if projection == "value":
            heads = self.layer.geometry.heads
            assert given is not None and self.given is not None
            yield "outputs", _turned(_by_head(self.given, heads), _by_head(given, heads)), True
        assert self.call.scores is not None and call.scores is not None
        before, after, token = self.call.scores, call.scores, self.token
        # What a mask hides is far below every score, and rounded there.
        visible = torch.minimum(before, after) > -1e4
        moved = (before - after).abs().masked_fill(~visible, 0.0)
        # Queries and keys meet in this entry.
        moved[:, token, token] = 0.0
        size = before[visible].abs().max().item()
        moved = moved / moved.max().clamp(min=1e-6 * size + 1e-30)
        queries = moved[:, token, :token].amax(dim=-1)
        keys = moved[:, token + 1 :, token].amax(dim=-1)
        moved[:, token] = moved[:, :, token] = 0.0
        yield "queries", queries, projection == "query"
        yield "keys", keys, projection == "key"
        yield "queries or keys elsewhere", moved.amax(dim=(1, 2)), False


def _heads_of(call: AttentionCall) -> int:
    if call.output is not None:
        return call.output.shape[1]
    assert call.pattern is not None
    return len(call.pattern)


def _some(heads: int) -> list[int]:
    return sorted({0, heads // 2, heads - 1})


def _by_head(tensor: Tensor, heads: int) -> Tensor:
    """Return ``[S, H * D]`` as ``[H, S, D]``."""
    return tensor.unflatten(-1, (heads, -1)).transpose(0, 1)


def _turned(before: Tensor, after: Tensor) -> Tensor:
    """Return how much the vectors ``[H, S, D]`` of each head turned at most, relative to their length, ``[H]``."""
    lengths = before.square().sum(dim=-1, keepdim=True).clamp(min=1e-30)
    along = (before * after).sum(dim=-1, keepdim=True) / lengths * before
    size = after.norm(dim=-1).clamp(min=1e-15)
    return ((after - along).norm(dim=-1) / size).amax(dim=-1)
