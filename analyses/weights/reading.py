"""Which attention weights an analysis reads, and what it refuses."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...errors import UserError, shown
from ...models.weights import Matrix
from ...settings import Layer, Settings
from ..public_settings import without_secrets


class WeightsConfig(Settings):
    """Which attention weights are read, and what is done with undefined entries.

    Attributes:
        matrices: Which of W_Q, W_K, W_V and W_O.
        layers: Layers, counted from 0, negative from the end; None is all.
        pattern: Tensor names of a file without a known family: matrix to a name with ``{layer}`` in it.
        family: The family's name where the checkpoint does not say it.
        endpoint: The hub, in place of the usual one.
        device: Where to compute.
        allow_undefined: Leave NaN and infinite entries out, and count them, instead of refusing the checkpoint.
    """

    matrices: tuple[Matrix, ...] = Field(default=("query", "key", "value"), min_length=1)
    layers: tuple[Layer, ...] | None = None
    pattern: dict[Matrix, str] | None = None
    family: str | None = None
    endpoint: str | None = None
    device: str = "cpu"
    allow_undefined: bool = False

    def __repr_args__(self) -> Any:
        """Show no secret of an address."""
        return [(name, without_secrets(value)) for name, value in super().__repr_args__()]

    @property
    def reading(self) -> dict[str, Any]:
        """Return what `open_projections` and `attention_projections` are told, beside the place and revision."""
        return self.model_dump(include={"matrices", "layers", "pattern", "family", "device", "endpoint"})


def require_defined(undefined: int, entries: int, name: str, place: str, allowed: bool) -> None:
    """Refuse a tensor with NaN or infinite entries unless they may be left out.

    Raises:
        UserError: It names the tensor and the checkpoint, and says how many entries are undefined.
    """
    if undefined and (not allowed or undefined == entries):
        raise UserError(
            f"{undefined} of the {entries} entries of {name} in {shown(place)} are NaN or infinite: the checkpoint "
            "is broken or its training diverged; leave them out, counted, with --allow-undefined"
        )
