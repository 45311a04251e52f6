"""How large the gradients of each layer are at each step of finetuning: Figure 3 of Bar Natan et al.

By default the L2 norm of the gradient of a layer's trained parameters, of the loss per token, by itself at every
step (definitions R11). What the reference's code logged is another number (D10): all parameters of the layer,
a loss summed over tokens and scaled, and gradients that pile up over demonstrations wherever no optimiser
clears them. Each of these differences is an option here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor
from .options import GradientParameters, GradientReduction


@dataclass(frozen=True)
class LayerParameters:
    """The names of one layer's parameters.

    Attributes:
        layer: Which layer, counted from 0.
        trained: Those that are trained.
        untrained: Those that are not.
    """

    layer: int
    trained: tuple[str, ...]
    untrained: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """L2 norms of gradients, by step and layer (Bar Natan et al., Figure 3; definitions R11).

    Attributes:
        norms: `[S, L]` float64, S steps and L layers, of a loss in nats; NaN for a layer none of whose parameters
            count.
        layers: The layers, counted from 0.
        parameters: ``trained`` or ``layer_all`` of each layer.
        reduction: Of the loss whose gradients these are, ``token_mean`` or ``token_sum``.
        accumulate: Whether the gradients of parameters that are not trained piled up over steps.
        loss_scale: What the loss was multiplied by.
    """

    norms: Tensor
    layers: tuple[int, ...]
    parameters: GradientParameters = "trained"
    reduction: GradientReduction = "token_mean"
    accumulate: bool = False
    loss_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check shape and dtype."""
        if self.norms.ndim != 2 or self.norms.dtype != torch.float64:
            raise ValueError(
                f"expected norms [S, L] of float64, got {tuple(self.norms.shape)} of {self.norms.dtype}"
            )
        if self.norms.shape[1] != len(self.layers):
            raise ValueError(f"{self.norms.shape[1]} columns of norms do not fit {len(self.layers)} layers")

    @property
    def steps(self) -> int:
        """How many steps, S: with one demonstration a step and one epoch, how many demonstrations."""
        return self.norms.shape[0]

    @property
    def mean_over_steps(self) -> Tensor:
        """`[L]` each layer's mean over the steps."""
        return self.norms.mean(dim=0)

    def to_rows(self) -> list[dict[str, int | float]]:
        """Return one row for every step, counted from 1, and layer: `step`, `layer` and `norm`."""
        return [
            {"step": step, "layer": layer, "norm": norm}
            for step, norms in enumerate(self.norms.tolist(), start=1)
            for layer, norm in zip(self.layers, norms, strict=True)
        ]


class GradientNormRecorder:
    """Makes gradient norms out of what finetuning shows at each step: ``finetune(…, observe=recorder.observe)``.

    One recorder is for one finetuning. It keeps norms alone; with `accumulate` also one sum of gradients for
    every parameter that is not trained.
    """

    def __init__(
        self,
        layers: Sequence[LayerParameters],
        *,
        parameters: GradientParameters = "trained",
        reduction: GradientReduction = "token_mean",
        accumulate: bool = False,
        loss_scale: float = 1.0,
    ) -> None:
        """Begin with no step.

        Args:
            layers: The parameters of each layer, in the order of the result's columns.
            parameters: Take the ``trained`` parameters of each layer or, with ``layer_all``, all of them.
            reduction: Take gradients of the loss as it is, ``token_mean``, or of the sum over its tokens.
            accumulate: Never clear the gradients of parameters that are not trained, as the reference does not:
                each step adds to them, while those of trained parameters are of their step alone.
            loss_scale: A factor on the loss; the reference's fp16 runs have 4.

        Raises:
            ValueError: A layer or a parameter is named twice, an option is unknown, or `accumulate` is asked
                for where it could change nothing.
        """
        if parameters not in get_args(GradientParameters):
            raise ValueError(
                f"unknown parameters {parameters!r}, choose one of {', '.join(get_args(GradientParameters))}"
            )
        if reduction not in get_args(GradientReduction):
            raise ValueError(
                f"unknown reduction {reduction!r}, choose one of {', '.join(get_args(GradientReduction))}"
            )
        if accumulate and parameters == "trained":
            raise ValueError(
                "only parameters that are not trained accumulate gradients: take parameters='layer_all'"
            )
        if not (math.isfinite(loss_scale) and loss_scale > 0):
            raise ValueError(f"loss_scale must be a positive number, got {loss_scale}")
        names = [name for one in layers for name in (*one.trained, *one.untrained)]
        if len(set(names)) != len(names) or len({one.layer for one in layers}) != len(layers):
            raise ValueError("a layer, or a parameter of the layers, is named twice")
        self._layers = tuple(layers)
        self._parameters: GradientParameters = parameters
        self._reduction: GradientReduction = reduction
        self._accumulate, self._loss_scale = accumulate, loss_scale
        self._sums: dict[str, Tensor] = {}
        self._norms: list[list[float]] = []

    def observe(self, step: int, gradients: Mapping[str, ArrayLike], tokens: int) -> None:
        """Take in the gradients of one step; they are not kept.

        Args:
            step: The step, counted from 1.
            gradients: Gradients of the mean loss per token, by parameter name, of any shapes and devices. Names of
                no layer are passed over.
            tokens: How many tokens the loss is the mean over.

        Raises:
            ValueError: The step is not the next one, a parameter that counts has no gradient, or a norm is not
                finite.
        """
        if step != len(self._norms) + 1:
            raise ValueError(
                f"expected step {len(self._norms) + 1}, got {step}: make a new recorder for each finetuning"
            )
        if tokens < 1:
            raise ValueError(f"a loss is the mean over at least 1 token, got {tokens}")
        missing = [name for one in self._layers for name in self._counted(one) if name not in gradients]
        if missing:
            raise ValueError(
                f"step {step} has no gradient of {missing[0]} and {len(missing) - 1} more: finetune with "
                "watch='layers' to see the parameters that are not trained"
            )
        found = {name: as_tensor(gradients[name]) for one in self._layers for name in self._counted(one)}
        scale = self._loss_scale * (tokens if self._reduction == "token_sum" else 1)
        self._norms.append([self._layer_norm(one, step, found, scale) for one in self._layers])

    def result(self) -> GradientNorms:
        """Return the norms of all steps so far.

        Raises:
            ValueError: There was none.
        """
        if not self._norms:
            raise ValueError("no step was observed: give finetune(…, observe=recorder.observe)")
        return GradientNorms(
            norms=torch.tensor(self._norms, dtype=torch.float64).reshape(len(self._norms), len(self._layers)),
            layers=tuple(one.layer for one in self._layers),
            parameters=self._parameters,
            reduction=self._reduction,
            accumulate=self._accumulate,
            loss_scale=self._loss_scale,
        )

    def _counted(self, one: LayerParameters) -> tuple[str, ...]:
        return one.trained if self._parameters == "trained" else (*one.trained, *one.untrained)

    def _layer_norm(
        self, one: LayerParameters, step: int, gradients: Mapping[str, Tensor], scale: float
    ) -> float:
        norms = [scale * _norm(gradients[name]) for name in one.trained]
        if self._parameters == "layer_all":
            for name in one.untrained:
                norms.append(
                    _norm(self._add(name, gradients[name], scale))
                    if self._accumulate
                    else scale * _norm(gradients[name])
                )
        if not norms:
            return math.nan
        norm = math.hypot(*norms)
        if not math.isfinite(norm):
            raise ValueError(f"the gradient of layer {one.layer} is not finite at step {step}")
        return norm

    def _add(self, name: str, gradient: Tensor, scale: float) -> Tensor:
        """Add a gradient to what has piled up of it."""
        if name not in self._sums:
            dtype = torch.promote_types(gradient.dtype, torch.float32)
            self._sums[name] = torch.zeros_like(gradient, dtype=dtype, requires_grad=False)
        return self._sums[name].add_(gradient.detach(), alpha=scale)


def _norm(tensor: Tensor) -> float:
    """Return the L2 norm, its squares added up in float64."""
    tensor = tensor.detach()
    if tensor.device.type == "mps":  # has no float64
        tensor = tensor.cpu()
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
