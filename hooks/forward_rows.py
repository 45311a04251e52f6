"""The wanted rows of the forward that runs: kept once a site and layer, in the shape that the family's row says."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .plan import Site
from .resolved_plan import ResolvedPlan
from .running_forward import RunningForward

# What one forward gives: for each site (and "visible") a tensor [B, L, P, …] on the CPU.
Recording = dict[str, Tensor]


class ForwardRows(RunningForward):
    """What the sites of a plan give while one forward runs."""

    def __init__(self, resolved: ResolvedPlan) -> None:
        super().__init__(resolved, "recorded")
        self._kept: dict[tuple[str, int], Tensor] = {}
        self._copying: set[torch.device] = set()

    def keep(self, site: Site, part: LayerParts, tensor: Tensor) -> None:
        """Keep what a site gave in a layer, ``[B, P, …]``.

        Raises:
            UserError: If it gave something before, or this is of another shape than the family's row says.
        """
        self.refuse_other_shape(site, part, tuple(tensor.shape[2:]))
        self._put(site, part, tensor)

    def has(self, site: Site, part: LayerParts) -> bool:
        """Return whether a site gave something in a layer."""
        return (site, part.index) in self._kept

    def keep_visible(self, part: LayerParts, visible: Tensor) -> None:
        """Keep which keys a layer's rows see, ``[B, P, 1, W]``."""
        self._put("visible", part, visible)

    def _put(self, name: str, part: LayerParts, tensor: Tensor) -> None:
        self.passes(name, part)
        self._kept[name, part.index] = self._on_the_way(tensor)

    def require(self, holds: Tensor, error: UserError) -> None:
        """Raise an error at the end of the forward unless something holds, which its device knows by then."""
        super().require(self._on_the_way(holds), error)

    def _on_the_way(self, tensor: Tensor) -> Tensor:
        """Begin to bring a tensor to the CPU, without waiting for it: it is there when the forward is over."""
        if tensor.device.type != "cuda":
            return tensor
        # Into pinned memory, or the copy would wait for the device.
        arriving = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copying.add(tensor.device)
        return arriving.copy_(tensor, non_blocking=True)

    def _arrive(self) -> None:
        """Wait for what is on its way: once a device."""
        for device in self._copying:
            torch.cuda.current_stream(device).synchronize()
        self._copying.clear()

    def whole(self) -> Recording:
        """Return the recording of the forward.

        Raises:
            UserError: If a site gave nothing in a layer, or something required does not hold.
        """
        self._arrive()
        self.refuse_unmet()
        names: list[str] = list(self.resolved.plan.sites)
        if self.asks_for("scores", "pattern"):
            names.append("visible")
        self.refuse_missing(names)
        recording: Recording = {}
        for name in names:
            rows = [self._kept[name, part.index].cpu() for part in self.resolved.parts]
            recording[name] = torch.stack(rows, dim=1)
        return recording

    def forget(self) -> None:
        """Forget what was kept."""
        super().forget()
        self._arrive()
        self._kept.clear()
