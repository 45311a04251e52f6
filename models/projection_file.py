"""The attention projections of one open checkpoint: listed with their shapes, read one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError
from .matrices import Matrix
from .projection_names import ProjectionNames
from .projections import HeadGeometry, Projection
from .tensor_source import TensorSource


@dataclass(frozen=True, eq=False)
class AttentionProjection:
    """One attention projection of one layer.

    Attributes:
        layer: The layer, counted from 0.
        matrix: Which projection it is.
        weight: ``[out, in]``, so that it maps x to ``weight @ x``, in the stored dtype. The rows of query, key
            and value come head by head, ``[heads * head_width, d]``; under grouped-query attention key and
            value have fewer heads and are not expanded. The columns of the output projection come head by
            head, ``[d, heads * head_width]``.
        bias: ``[out]``, or None.
        geometry: Head counts and widths, or None where nothing tells them.
        name: The tensor it was read from.
        width: Width of the residual stream, d, or None where nothing tells it. Under latent attention W_Q, W_K and
            W_V read a latent vector of another width.
    """

    layer: int
    matrix: Matrix
    weight: Tensor
    bias: Tensor | None
    geometry: HeadGeometry | None
    name: str
    width: int | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that contradict each other."""
        if self.weight.dim() != 2:
            raise ValueError(f"{self.name} must be a matrix, not {tuple(self.weight.shape)}")
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"the bias of {self.name} must have {self.weight.shape[0]} entries")
        if self.geometry is not None and not fits(self.geometry, self.matrix, tuple(self.weight.shape)):
            raise ValueError(f"{self.name} of shape {tuple(self.weight.shape)} does not fit {self.geometry}")


@dataclass(frozen=True, eq=False)
class LayerRows:
    """How the weights of one layer are to be read.

    Attributes:
        geometry: Head counts and widths, or None where nothing tells them.
        rows: Which rows of its weight each projection is; empty where every one has a tensor of its own.
        stored: How many rows those weights have.
    """

    geometry: HeadGeometry | None = None
    rows: Mapping[Projection, Tensor] = field(default_factory=dict)
    stored: Mapping[Projection, int] = field(default_factory=dict)


class ProjectionFile:
    """The attention projections of one checkpoint: listed with their shapes, read on demand.

    A context that closes the files. Reading in the order of ``keys`` reads each stored tensor once: of fused
    weights the last one is kept.

    Attributes:
        label: What messages call the checkpoint.
        family_name: Its family, or None where a pattern took the place of one.
        geometry: Head counts and widths, of the first layer asked for; None where nothing tells them.
        n_layers: Number of layers, L.
        keys: The (layer, matrix) pairs that were asked for, layer by layer.
    """

    def __init__(
        self,
        source: TensorSource,
        names: ProjectionNames,
        *,
        keys: Sequence[tuple[int, Matrix]],
        n_layers: int,
        family_name: str | None,
        layers: Mapping[int, LayerRows],
        transposed: bool,
        device: torch.device,
        width: int | None,
        plain: bool = False,
    ) -> None:
        """Check every shape; `open_projections` is what makes one of these.

        Args:
            source: The open checkpoint.
            names: The tensor of each projection.
            keys: The pairs asked for.
            n_layers: Number of layers.
            family_name: The family.
            layers: How the weights of each layer are to be read.
            transposed: Whether weights are stored ``[in, out]``.
            device: Where tensors go.
            width: Width of the residual stream.
            plain: Whether every projection reads or writes that stream itself.

        Raises:
            UserError: If a stored shape does not fit the family.
        """
        self.label = source.label
        self.family_name = family_name
        self.geometry = next((layer.geometry for layer in layers.values()), None)
        self.n_layers = n_layers
        self.keys = tuple(keys)
        self._source = source
        self._names = {key: names[key] for key in self.keys}
        self._stored_names = frozenset(source.names)
        self._layers = layers
        self._transposed = transposed
        self._device = device
        self._width = width
        self._plain = plain
        self._last_fused: tuple[str, Tensor, Tensor | None] | None = None
        for layer, matrix in self.keys:
            self._check_shape(layer, matrix)

    def shape(self, layer: int, matrix: Matrix) -> tuple[int, int]:
        """Return the shape ``[out, in]`` of a projection without reading it.

        Raises:
            UserError: If it is not among ``keys``.
        """
        rows, columns = self._stored_shape(self._name(layer, matrix))
        own = self._own_rows(layer, matrix)
        return (rows if own is None else len(own)), columns

    def read(self, layer: int, matrix: Matrix) -> AttentionProjection:
        """Read a projection; its rows are a view of the stored tensor wherever they lie together.

        Raises:
            UserError: If it is not among ``keys``, or cannot be read.
        """
        name = self._name(layer, matrix)
        own = self._own_rows(layer, matrix)
        if own is None:
            weight, bias = self._load(name)
        else:
            rows = _as_slice(own, self._device)
            weight, bias = self._load_fused(name)
            weight, bias = weight[rows], None if bias is None else bias[rows]
        return AttentionProjection(
            layer, matrix, weight, bias, self._layers[layer].geometry, name, self._width
        )

    def close(self) -> None:
        """Close the checkpoint's files."""
        self._last_fused = None
        self._source.close()

    def __enter__(self) -> ProjectionFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the checkpoint's files."""
        self.close()

    def __iter__(self) -> Iterator[AttentionProjection]:
        """Read every projection in the order of ``keys``."""
        return (self.read(layer, matrix) for layer, matrix in self.keys)

    def _name(self, layer: int, matrix: Matrix) -> str:
        if (layer, matrix) not in self._names:
            raise UserError(f"the {matrix} projection of layer {layer} was not asked for of {self.label!r}")
        return self._names[layer, matrix]

    def _load_fused(self, name: str) -> tuple[Tensor, Tensor | None]:
        if self._last_fused is None or self._last_fused[0] != name:
            # Let go of the last one first: two fused weights at once would double the memory.
            self._last_fused = None
            self._last_fused = (name, *self._load(name))
        return self._last_fused[1:]

    def _load(self, name: str) -> tuple[Tensor, Tensor | None]:
        weight = self._source.read(name).to(self._device)
        bias_name = f"{name.removesuffix('weight')}bias"
        bias = self._source.read(bias_name).to(self._device) if bias_name in self._stored_names else None
        return weight.T if self._transposed else weight, bias

    def _stored_shape(self, name: str) -> tuple[int, int]:
        shape = self._source.stored(name).shape
        if len(shape) != 2:
            raise UserError(
                f"{name} of {self.label!r} has shape {shape} and is no matrix: name another tensor"
            )
        return (shape[1], shape[0]) if self._transposed else (shape[0], shape[1])

    def _check_shape(self, layer: int, matrix: Matrix) -> None:
        name = self._names[layer, matrix]
        rows = self._stored_shape(name)[0]
        own = self._layers[layer]
        whole = (matrix == "output" or rows == own.stored.get(matrix, rows)) and self._has_width(
            layer, matrix
        )
        if not whole or not (own.geometry is None or fits(own.geometry, matrix, self.shape(layer, matrix))):
            raise UserError(
                f"{name} of {self.label!r} has shape {self._source.stored(name).shape}, which does not fit "
                f"{own.geometry.heads if own.geometry else 'any'} heads in the row of family {self.family_name!r}: "
                "correct it with iclprobe.register_family(...)"
            )

    def _has_width(self, layer: int, matrix: Matrix) -> bool:
        """Return whether a projection reads, or writes, a residual stream of the configuration's width."""
        if self._width is None or not self._plain:
            return True
        return self.shape(layer, matrix)[matrix != "output"] == self._width

    def _own_rows(self, layer: int, matrix: Matrix) -> Tensor | None:
        return None if matrix == "output" else self._layers[layer].rows.get(matrix)


def fits(geometry: HeadGeometry, matrix: Matrix, shape: tuple[int, ...]) -> bool:
    """Return whether a projection of this shape ``[out, in]`` can have these heads."""
    return len(shape) == 2 and shape[1 if matrix == "output" else 0] == geometry.sizes[matrix]


def _as_slice(rows: Tensor, device: torch.device) -> slice | Tensor:
    """Return rows that lie together as a slice, which makes a view where indices make a copy."""
    first, last = int(rows[0]), int(rows[-1])
    together = torch.equal(rows, torch.arange(first, last + 1))
    return slice(first, last + 1) if together else rows.to(device)
