"""What a patch shall write: what was recorded, tensors, or what a function makes of what the model computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError, shown
from ..models.layer_parts import LayerParts
from .captured import Capture
from .plan import Site
from .resolved_plan import ResolvedPlan
from .site_shapes import OF_EACH_HEAD

# Given the site, the layer and what the model computed there, [B, P, …]; returns what shall stand there.
WrittenBy = Callable[[Site, int, Tensor], Tensor]
Values = Capture | Mapping[Any, Tensor] | WrittenBy


class GivenValues:
    """Values of a plan's sites, read for each layer of each forward.

    Attributes:
        row_tokens: Which token of a whole prompt each row is, ``[N, P]``, where a capture tells.
        rows: Which rows the values have, ``[N, P]``, where a capture tells.
    """

    def __init__(self, resolved: ResolvedPlan, values: Values) -> None:
        """Read what was given.

        Raises:
            UserError: If it does not fit the plan.
        """
        self._resolved, self._function = resolved, None
        self.row_tokens: Tensor | None = None
        self.rows: Tensor | None = None
        self._arrays: dict[Site, Tensor] = {}
        self._places = {part.index: place for place, part in enumerate(resolved.parts)}
        if isinstance(values, Capture):
            self._read_capture(values)
        elif isinstance(values, Mapping):
            self._read_arrays(values)
        elif callable(values):
            self._function = values
        else:
            raise UserError(
                "a patch takes a Capture, a mapping of sites to tensors, or a function, not a "
                f"{type(values).__name__}"
            )

    def _read_capture(self, captured: Capture) -> None:
        missing = [layer for layer in self._places if layer not in captured.layers]
        if missing:
            raise UserError(
                f"the capture holds layers {shown(list(captured.layers))} and not {shown(missing)}, which the plan "
                "writes: name layers that were recorded in the plan"
            )
        space = captured.manifest.get("score_space", "softmax_input")
        if "scores" in self._resolved.plan.sites and space != "softmax_input":
            raise UserError(
                f"the capture holds scores in the space {space!r}, and what is written is what the softmax is given: "
                "record them in the space softmax_input"
            )
        self._places = {layer: place for place, layer in enumerate(captured.layers)}
        arrays = captured.arrays()
        self._read_arrays({site: arrays[site] for site in self._resolved.plan.sites if site in arrays})
        self.rows = captured.rows
        if captured.row_tokens is not None:
            self.row_tokens = captured.row_tokens.reshape(captured.n, -1)

    def _read_arrays(self, arrays: Mapping[Any, Tensor]) -> None:
        sites = self._resolved.plan.sites
        if set(arrays) != set(sites):
            raise UserError(
                f"the plan writes {', '.join(sites)}, and values of {', '.join(map(str, arrays)) or 'nothing'} were "
                "given: give values of the plan's sites, all and no others"
            )
        for site, array in arrays.items():
            if not isinstance(array, Tensor) or not array.is_floating_point():
                raise UserError(
                    f"values of {site} are no tensor of floating-point numbers: give one of [prompts, layers, "
                    "positions, …]"
                )
            axes = 5 if site in OF_EACH_HEAD else 4
            if array.dim() == axes - 1:
                array = array.unsqueeze(2)
            if array.dim() != axes or array.shape[1] != len(self._places):
                raise UserError(
                    f"values of {site} are of shape {tuple(arrays[site].shape)}, and there are "
                    f"{len(self._places)} layers: give [prompts, layers, positions, …] as a capture holds it"
                )
            self._arrays[site] = array

    def at(self, site: Site, part: LayerParts, computed: Tensor) -> Tensor:
        """Return what shall stand at a site in a layer.

        Args:
            site: The site.
            part: The layer.
            computed: What stands there, ``[B, P, …]``.

        Raises:
            UserError: If it is of another shape.
        """
        layer = part.index
        if self._function is not None:
            # Its own copy: changed in place, it would else look like what stands there already.
            new = self._function(site, layer, computed.clone())
            if not isinstance(new, Tensor) or new.shape != computed.shape:
                what = f"{tuple(new.shape)}" if isinstance(new, Tensor) else f"a {type(new).__name__}"
                raise UserError(
                    f"the patch's function gave {what} for {site} of layer {layer}, where the model computed "
                    f"{tuple(computed.shape)}: return a tensor of that shape"
                )
            return new.to(computed, non_blocking=True)
        new = self._arrays[site][:, self._places[layer]]
        batch = len(computed)
        if new.shape[0] not in (1, batch) or new.shape[1:] != computed.shape[1:]:
            raise UserError(
                f"values of {site} for layer {layer} are {tuple(new.shape)}, and this forward has "
                f"{tuple(computed.shape)}: [prompts, positions, …] must be those of the forward, or of 1 prompt"
            )
        return new.to(computed, non_blocking=True).expand(batch, *new.shape[1:])
