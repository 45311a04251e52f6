"""Where checkpoints stand along an axis: at their training steps, where their names tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .figure_text import short_name
from .ticks import apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..study.columns import Frame

_SMALLEST_STRIDE = 0.004
"""Of the whole axis: checkpoints that lie closer at their steps are told apart on a logarithmic scale alone."""
_ROOM = 0.03
"""Of the axis: what is free beyond the first and the last point."""
_NAME = 16.0
"""Points that the name of a checkpoint needs along its axis, slanted or upright."""


@dataclass(frozen=True)
class CheckpointAxis:
    """An axis of checkpoints.

    Attributes:
        places: Where each checkpoint stands, ascending: its step, or its place in the series.
        names: What each is called.
        title: What the axis counts.
        foot: Where a logarithmic scale begins, below which it is even; 0 is an even scale.
    """

    places: np.ndarray
    names: tuple[str, ...]
    title: str
    foot: float = 0.0

    @property
    def edges(self) -> np.ndarray:
        """Where the cell of each checkpoint begins and ends: halfway to the next."""
        if len(self.places) == 1:
            return np.array([self.places[0] - 0.5, self.places[0] + 0.5])
        middles = (self.places[1:] + self.places[:-1]) / 2
        return np.array([self.places[0], *middles, self.places[-1]])

    def draw(self, axes: Axes, which: str, points: float) -> None:
        """Give a panel this axis, with ticks at the first and last checkpoint and at those between that have room.

        Args:
            axes: The panel.
            which: ``x`` or ``y``.
            points: How many points the axis is long.
        """
        if self.foot:
            getattr(axes, f"set_{which}scale")("symlog", linthresh=self.foot)
        along = self._drawn_places()
        kept = apart(along, _NAME * float(np.ptp(along) or 1.0) / points)
        axis = axes.xaxis if which == "x" else axes.yaxis
        names = [short_name(self.names[place], 14) for place in kept]
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if which == "x" else {}
        axis.set_ticks(self.places[kept].tolist(), names, parse_math=False, **slanted)
        axis.set_ticks([], minor=True)
        getattr(axes, f"set_{which}label")(self.title)

    def leave_room(self, axes: Axes) -> None:
        """Let the x-axis of a panel reach a little beyond the first and the last checkpoint, on any scale."""
        along = self._drawn_places()
        room = _ROOM * float(np.ptp(along) or 1.0)
        axes.set_xlim(*(self._place_of(end) for end in (along[0] - room, along[-1] + room)))

    def _place_of(self, along: float) -> float:
        """Return what stands so far along the axis, see `_drawn_places`."""
        if not self.foot:
            return along
        return self.foot * (along if along <= 1 else 10 ** (along - 1))

    def _drawn_places(self) -> np.ndarray:
        if not self.foot:
            return self.places
        beyond = np.maximum(self.places, self.foot) / self.foot
        return np.minimum(self.places, self.foot) / self.foot + np.log10(beyond)


def checkpoint_axis(checkpoints: Frame) -> CheckpointAxis:
    """Return the axis of a series of checkpoints.

    Args:
        checkpoints: One row a checkpoint, in order: ``checkpoint``, what it is called, and ``step``.
    """
    names = tuple(map(str, checkpoints["checkpoint"]))
    steps = checkpoints["step"].to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(steps).all() or (np.diff(steps) <= 0).any():
        return CheckpointAxis(np.arange(len(names), dtype=float), names, "checkpoint (evenly spaced)")
    positive = steps[steps > 0]
    if len(steps) > 2 and (np.diff(steps) < _SMALLEST_STRIDE * np.ptp(steps)).any():
        return CheckpointAxis(steps, names, "training step (log scale)", float(positive.min()))
    return CheckpointAxis(steps, names, "training step")
