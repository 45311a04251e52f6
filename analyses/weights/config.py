"""Which attention weights an analysis reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ...errors import shown
from ...models.matrices import MATRICES, Matrix
from ...on_command_line import OnCommandLine, same_text
from ...settings import Layer, Settings
from ..configuration import numbers, several
from ..public_settings import without_secrets

_LETTERS: Mapping[str, Matrix] = {"q": "query", "k": "key", "v": "value", "o": "output"}


def _matrix(name: Any) -> Any:
    """Return a matrix by its letter or its name; what is no text is left for the field's own checks."""
    if not isinstance(name, str):
        return name
    found = _LETTERS.get(name.strip(), name.strip())
    if found not in MATRICES:
        raise ValueError(f"there is no matrix {shown(name.strip())}: choose of q, k, v and o")
    return found


def _matrices(value: Any) -> Any:
    """Accept ``q,k``, a list of letters or names, or one of them."""
    names = value.split(",") if isinstance(value, str) else several(value)
    return tuple(_matrix(name) for name in names)


def _once(matrices: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    return tuple(dict.fromkeys(matrices))


def _by_matrix(value: Any) -> Any:
    """Accept letters for the names of matrices."""
    return {_matrix(key): name for key, name in value.items()} if isinstance(value, Mapping) else value


class WeightsConfig(Settings):
    """Which attention weights are read, and what is done with undefined entries.

    Attributes:
        matrices: Which of W_Q, W_K, W_V and W_O: q, k, v and o, or query, key, value and output.
        layers: Layers, counted from 0, negative from the end; nothing is all.
        pattern: Tensor names of a file of no known family: matrix to a name with {layer} in it.
        family: The family's name where the checkpoint does not say it.
        endpoint: The hub's address, in place of the usual one.
        device: Where to compute: cpu, cuda, cuda:0 …
        allow_undefined: Leave NaN and infinite entries out, and count them, instead of refusing the checkpoint.
    """

    matrices: Annotated[
        tuple[Matrix, ...],
        BeforeValidator(_matrices),
        AfterValidator(_once),
        Field(min_length=1),
        OnCommandLine(read=same_text, example="q,k,v,o"),
    ] = ("query", "key", "value")
    layers: Annotated[tuple[Layer, ...] | None, BeforeValidator(numbers), OnCommandLine(example="0,5,-1")] = (
        None
    )
    pattern: Annotated[
        dict[Matrix, str] | None,
        BeforeValidator(_by_matrix),
        OnCommandLine(example="q=blocks.{layer}.wq,k=blocks.{layer}.wk,v=blocks.{layer}.wv"),
    ] = None
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
