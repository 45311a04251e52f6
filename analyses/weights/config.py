"""Which attention weights an analysis reads."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...models.matrices import Matrix
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
