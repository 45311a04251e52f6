"""The rows of the forward that runs, written: each site once in each layer, and only where something changes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .given_values import GivenValues
from .plan import Site
from .resolved_plan import ResolvedPlan
from .rows import Rows, Wanted, keep_columns
from .running_forward import RunningForward
from .written_rows import WrittenRows


class RowWriter(RunningForward):
    """What a patch puts in the place of what the sites of a plan compute."""

    def __init__(self, resolved: ResolvedPlan, values: GivenValues) -> None:
        super().__init__(resolved, "wrote")
        self._values = values
        self._existing = torch.zeros(0, 0, dtype=torch.bool)
        self._presumed: dict[int, LayerParts] = {}

    def begin(self, wanted: Wanted, existing: Tensor) -> None:
        """Say which rows of a forward are written.

        Args:
            wanted: The rows.
            existing: Which of them exist, ``[B, P]``.

        Raises:
            UserError: If a token is there twice, or values of rows are missing.
        """
        for own, there in zip(wanted.rows, existing, strict=True):
            if len(own[there].unique()) < int(there.sum()):
                raise UserError(
                    f"positions {self.resolved.plan.positions} name one token of a prompt twice, and it can be "
                    "written once"
                )
        given = self._values.rows
        if given is not None:
            if given.shape[1] != existing.shape[1] or len(given) not in (1, len(existing)):
                raise UserError(
                    f"the capture has {tuple(given.shape)} [prompts, positions] and the forward "
                    f"{tuple(existing.shape)}: run as many prompts of the same lengths, or name positions that "
                    "all have"
                )
            without = (existing & ~given.expand_as(existing)).any(dim=1).nonzero()
            if len(without):
                raise UserError(
                    f"prompt {int(without[0])} of the forward has more tokens to write than the capture has of it: "
                    "run prompts of the lengths that were recorded, or name positions that all have"
                )
        self.wanted, self._existing = wanted, existing

    def value(self, site: Site, part: LayerParts, computed: Tensor) -> Tensor | None:
        """Return what shall stand at a site in a layer, ``[B, P, …]``, or None where that is there already.

        Raises:
            UserError: If the site came by before, or something is of another shape.
        """
        self.passes(site, part)
        self.refuse_other_shape(site, part, tuple(computed.shape[2:]))
        new = self._values.at(site, part, computed)
        if new.requires_grad:
            return new
        existing = self._existing.to(computed.device)
        return None if torch.equal(new[existing], computed[existing]) else new

    def put(self, tensor: Tensor, new: Tensor, *, in_place: bool = False) -> Tensor:
        """Put rows ``[B, P, …]`` into ``[B, S, …]``, those that exist.

        Args:
            tensor: Where they go.
            new: The rows.
            in_place: Whether to change the tensor itself.
        """
        assert self.wanted is not None
        existing = self._existing.to(tensor.device)
        batch, place = existing.nonzero(as_tuple=True)
        indices = (batch, self.wanted.on(tensor.device)[batch, place])
        written = new[existing].to(tensor)
        return tensor.index_put_(indices, written) if in_place else tensor.index_put(indices, written)

    def rows_of(self, tensor: Tensor) -> Tensor:
        """Return the rows ``[B, P, …]`` of ``[B, S, …]``, in its dtype and with its graph."""
        assert self.wanted is not None
        batch = torch.arange(len(tensor), device=tensor.device)[:, None]
        return tensor[batch, self.wanted.on(tensor.device)]

    def rewrite(self, part: LayerParts, found: Rows) -> tuple[WrittenRows | None, WrittenRows | None]:
        """Return what a layer's rows of attention become once their scores, and then once their pattern is written.

        Args:
            part: The layer.
            found: The rows as they are, over all keys.

        Returns:
            The rows with other scores, and those with another pattern besides; None where nothing changes.
        """
        scores = pattern = None
        if self.asks_for("scores"):
            hidden = ~keep_columns(found.visible, self._wanted)
            new = self.value(
                "scores", part, keep_columns(found.scores, self._wanted).masked_fill(hidden, 0.0)
            )
            if new is not None:
                new = new[..., -found.scores.shape[-1] :]
                changed = self._changed(new, found.scores, found.visible)
                others = torch.where(changed[..., None] & found.visible, new, found.scores)
                softmax = replace(found, scores=others, written_pattern=None).pattern()
                weights = torch.where(changed[..., None], softmax, found.pattern())
                found = replace(found, scores=others, written_pattern=weights)
                scores = WrittenRows(self._wanted.on(new.device), found, changed)
        if self.asks_for("pattern"):
            before = found.pattern()
            new = self.value("pattern", part, keep_columns(before, self._wanted))
            if new is not None:
                new = new[..., -before.shape[-1] :]
                changed = self._changed(new, before, found.visible)
                weights = torch.where(changed[..., None] & found.visible, new, before)
                pattern = WrittenRows(
                    self._wanted.on(new.device), replace(found, written_pattern=weights), changed
                )
        return scores, pattern

    def presume(self, part: LayerParts) -> None:
        """Note that what was written in a layer looked like queries and keys; the softmax has yet to tell."""
        self._presumed[part.index] = part

    def confirm(self, part: LayerParts) -> None:
        """Note that it was."""
        self._presumed.pop(part.index, None)

    def whole(self) -> None:
        """Check that every site was written in every layer.

        Raises:
            UserError: If one was not.
        """
        self.refuse_missing(self.resolved.plan.sites)
        for part in self._presumed.values():
            raise self.not_multiplied(part)

    def not_multiplied(self, part: LayerParts) -> UserError:
        """Return the refusal of queries and keys that were written and were none."""
        return self.of_other_shape(part, "queries", "that are not what the softmax is made of")

    def forget(self) -> None:
        """Forget what came by."""
        super().forget()
        self._presumed.clear()

    @property
    def _wanted(self) -> Wanted:
        assert self.wanted is not None
        return self.wanted

    def _changed(self, new: Tensor, before: Tensor, visible: Tensor) -> Tensor:
        existing = self._existing.to(new.device)[..., None]
        if new.requires_grad:
            return existing.expand(new.shape[:3])
        return ((new != before) & visible).any(dim=-1) & existing
