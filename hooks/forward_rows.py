"""The wanted rows of the forward that runs: kept once a site and layer, in the shape that the family's row says."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .plan import Site
from .registry import other_attention
from .resolved_plan import ResolvedPlan
from .rows import Wanted
from .site_shapes import site_shape

# What one forward gives: for each site (and "visible") a tensor [B, L, P, …] on the CPU.
Recording = dict[str, Tensor]

_OF_THE_CALL = ("scores", "pattern", "visible", "queries", "keys", "values")


class ForwardRows:
    """What the sites of a plan give while one forward runs.

    Attributes:
        resolved: What is recorded.
        wanted: Which rows, None while nothing is recorded.
        thread: Whose forwards are recorded.
    """

    def __init__(self, resolved: ResolvedPlan) -> None:
        self.resolved = resolved
        self.wanted: Wanted | None = None
        self.thread = threading.get_ident()
        self._kept: dict[tuple[str, int], Tensor] = {}
        model = resolved.model
        self._geometries = {part.index: model.geometry_of(part.index) for part in resolved.parts}
        self._width = model.width

    @property
    def elsewhere(self) -> bool:
        """Whether the forward that runs is another thread's."""
        return self.thread != threading.get_ident()

    @property
    def wanted_here(self) -> Wanted | None:
        """The rows that are wanted of what runs now."""
        return None if self.elsewhere else self.wanted

    def asks_for(self, *sites: Site) -> bool:
        """Return whether the plan has one of these sites."""
        return not set(sites).isdisjoint(self.resolved.plan.sites)

    def keep(self, site: Site, part: LayerParts, tensor: Tensor) -> None:
        """Keep what a site gave in a layer, ``[B, P, …]``.

        Raises:
            UserError: If it gave something before, or this is of another shape than the family's row says.
        """
        assert self.wanted is not None
        shape = site_shape(site, self._geometries[part.index], self._width, self.wanted.width)
        found = tuple(tensor.shape[2:])
        if found != shape:
            axis, unit = (0, "heads") if len(shape) > 1 and found[0] != shape[0] else (-1, "entries")
            raise self.of_other_shape(part, site, f"of {found[axis]} {unit} and not {shape[axis]}")
        # One vector for each head is much more than anything else that waits for the end of the forward.
        self._put(site, part, tensor.cpu() if site == "head_output" else tensor)

    def keep_visible(self, part: LayerParts, visible: Tensor) -> None:
        """Keep which keys a layer's rows see, ``[B, P, 1, W]``."""
        self._put("visible", part, visible)

    def _put(self, name: str, part: LayerParts, tensor: Tensor) -> None:
        if (name, part.index) in self._kept:
            raise UserError(
                f"layer {part.index} of {self.resolved.model.name!r} recorded {name} twice in one forward, "
                "and a capture holds one: leave this layer out of the plan's layers"
            )
        self._kept[name, part.index] = tensor

    def of_other_shape(self, part: LayerParts, name: str, found: str) -> UserError:
        """Return the refusal of what is not shaped as the family's row says."""
        model = self.resolved.model
        return UserError(
            f"layer {part.index} of {model.name!r} gave {name} {found}, unlike the row of family "
            f"{model.family.name!r}: correct it with iclprobe.register_family(...)"
        )

    def whole(self) -> Recording:
        """Return the recording of the forward.

        Raises:
            UserError: If a site gave nothing in a layer.
        """
        names: list[str] = list(self.resolved.plan.sites)
        if self.asks_for("scores", "pattern"):
            names.append("visible")
        recording: Recording = {}
        for name in names:
            rows = []
            for part in self.resolved.parts:
                if (name, part.index) not in self._kept:
                    raise self._not_recorded(name, part)
                rows.append(self._kept[name, part.index].cpu())
            recording[name] = torch.stack(rows, dim=1)
        return recording

    def _not_recorded(self, name: str, part: LayerParts) -> UserError:
        model = self.resolved.model
        used = model.attention_implementation
        other = f"{other_attention(used)}, or " if name in _OF_THE_CALL else ""
        return UserError(
            f"layer {part.index} of {model.name!r} recorded no {name} in a forward (attention implementation "
            f"{used!r}): {other}correct its row in the family table (iclprobe.register_family)"
        )

    def forget(self) -> None:
        """Forget what was kept."""
        self._kept.clear()
