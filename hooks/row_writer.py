"""The rows of the forward that runs, written: each site once in each layer, without a look at any number."""

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
        self._indices: tuple[Tensor, ...] = ()
        self._placed: dict[torch.device, tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]] = {}
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
        # Where the rows are is found here, where their numbers are known.
        batch, place = existing.nonzero(as_tuple=True)
        self._indices = (batch, place, wanted.rows[batch, place])
        self._placed.clear()

    def value(self, site: Site, part: LayerParts, computed: Tensor) -> Tensor:
        """Return what shall stand at a site in a layer, ``[B, P, …]``: what stands there where it is the same.

        Nothing asks whether anything changes, for the answer would have to come from the device.

        Raises:
            UserError: If the site came by before, or something is of another shape.
        """
        self.passes(site, part)
        self.refuse_other_shape(site, part, tuple(computed.shape[2:]))
        new = self._values.at(site, part, computed)
        if new.requires_grad:
            return new
        return torch.where(new == computed, computed, new)

    def _on(self, device: torch.device) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return on a device which rows exist, where these are in ``[B, P]``, and where in ``[B, S]``.

        They are copied there once, without waiting.
        """
        if device not in self._placed:
            found = (each.to(device, non_blocking=True) for each in (self._existing, *self._indices))
            existing, batch, place, token = found
            self._placed[device] = (existing, (batch, place), (batch, token))
        return self._placed[device]

    def put(self, tensor: Tensor, new: Tensor, *, in_place: bool = False) -> Tensor:
        """Put rows ``[B, P, …]`` into ``[B, S, …]``, those that exist.

        Args:
            tensor: Where they go.
            new: The rows.
            in_place: Whether to change the tensor itself.
        """
        _, places, indices = self._on(tensor.device)
        written = new[places].to(tensor)
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
            The rows with other scores, and those with another pattern besides; None for what is not written.
        """
        scores = pattern = None
        if self.asks_for("scores"):
            hidden = ~keep_columns(found.visible, self._wanted)
            new = self.value(
                "scores", part, keep_columns(found.scores, self._wanted).masked_fill(hidden, 0.0)
            )
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
            UserError: If one was not, or something required does not hold.
        """
        self.refuse_unmet()
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
        self._placed.clear()

    @property
    def _wanted(self) -> Wanted:
        assert self.wanted is not None
        return self.wanted

    def _changed(self, new: Tensor, before: Tensor, visible: Tensor) -> Tensor:
        existing = self._on(new.device)[0][..., None]
        if new.requires_grad:
            return existing.expand(new.shape[:3])
        return ((new != before) & visible).any(dim=-1) & existing
