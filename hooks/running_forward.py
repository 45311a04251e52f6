"""The forward that runs, as the sites of a plan see it: whose it is, which rows are wanted, which sites came by."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .plan import SITES_OF_THE_CALL, Site
from .registry import other_attention
from .resolved_plan import ResolvedPlan
from .rows import Wanted
from .site_shapes import site_shape


class RunningForward:
    """One forward after another of one thread.

    Attributes:
        resolved: Which sites.
        wanted: Which rows, None while none is wanted.
        thread: Whose forwards are meant.
    """

    def __init__(self, resolved: ResolvedPlan, does: Literal["recorded", "wrote"]) -> None:
        self.resolved = resolved
        self.wanted: Wanted | None = None
        self.thread = threading.get_ident()
        self._does = does
        self._passed: set[tuple[str, int]] = set()
        self._required: list[tuple[Tensor, UserError]] = []
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

    def passes(self, name: str, part: LayerParts) -> None:
        """Note that a site came by in a layer.

        Raises:
            UserError: If it did before.
        """
        if (name, part.index) in self._passed:
            why = "and a capture holds one: " if self._does == "recorded" else "which a patch does once: "
            raise UserError(
                f"layer {part.index} of {self.resolved.model.name!r} {self._does} {name} twice in one forward, "
                f"{why}leave this layer out of the plan's layers"
            )
        self._passed.add((name, part.index))

    def refuse_missing(self, names: Iterable[str]) -> None:
        """Refuse a forward in which a site did not come by in a layer.

        Raises:
            UserError: If it was so.
        """
        model = self.resolved.model
        for name in names:
            for part in self.resolved.parts:
                if (name, part.index) in self._passed:
                    continue
                used = model.attention_implementation
                other = f"{other_attention(used)}, or " if name in ("visible", *SITES_OF_THE_CALL) else ""
                raise UserError(
                    f"layer {part.index} of {model.name!r} {self._does} no {name} in a forward (attention "
                    f"implementation {used!r}): {other}correct its row in the family table "
                    "(iclprobe.register_family)"
                )

    def require(self, holds: Tensor, error: UserError) -> None:
        """Raise an error at the end of the forward unless something holds, which its device knows by then."""
        self._required.append((holds, error))

    def refuse_unmet(self) -> None:
        """Refuse a forward in which something required does not hold.

        Raises:
            UserError: If it is so.
        """
        for holds, error in self._required:
            if not holds:
                raise error

    def refuse_other_shape(self, site: Site, part: LayerParts, found: tuple[int, ...]) -> None:
        """Refuse what a site gives of one token where it is of another shape than the family's row says.

        Raises:
            UserError: If it is so.
        """
        assert self.wanted is not None
        shape = site_shape(site, self._geometries[part.index], self._width, self.wanted.width)
        if found != shape:
            axis, unit = (0, "heads") if len(shape) > 1 and found[0] != shape[0] else (-1, "entries")
            raise self.of_other_shape(part, site, f"of {found[axis]} {unit} and not {shape[axis]}")

    def of_other_shape(self, part: LayerParts, name: str, found: str) -> UserError:
        """Return the refusal of what is not shaped as the family's row says."""
        model = self.resolved.model
        return UserError(
            f"layer {part.index} of {model.name!r} gave {name} {found}, unlike the row of family "
            f"{model.family.name!r}: correct it with iclprobe.register_family(...)"
        )

    def forget(self) -> None:
        """Forget what came by."""
        self._passed.clear()
        self._required.clear()
