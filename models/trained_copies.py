"""What a model holds while it is finetuned: copies of what is trained, rounded from masters kept in fp32 or fp64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .loading import LanguageModel
from .parameters import TrainedSlice, layers_of
from .recipe import Recipe


class TrainedCopies:
    """The copies that a model trains on, their masters, and the optimiser over the masters.

    Attributes:
        slices: What is trained.
        parameters: The module's parameter of each slice.
        layers: The decoder layer of each slice; None for one outside of the layers.
        copies: The value of each parameter while the model trains, by name.
    """

    def __init__(
        self, model: LanguageModel, slices: Sequence[TrainedSlice], recipe: Recipe, learning_rate: float
    ) -> None:
        """Copy what is trained; the module itself is not touched."""
        self.slices = tuple(slices)
        self.parameters = [model.module.get_parameter(piece.name) for piece in slices]
        self.layers = layers_of(model, [piece.name for piece in slices])
        self.copies = {
            piece.name: parameter.detach().clone()
            for piece, parameter in zip(slices, self.parameters, strict=True)
        }
        # What is trained whole and is fp32 already is its own master.
        self._masters = [_at_least_fp32(piece.read(self.copies[piece.name])) for piece in slices]
        self._optimizer = _optimizer(recipe, self._masters, learning_rate)

    def zeros(self, indices: Sequence[int]) -> list[Tensor]:
        """Return a zero gradient of each of some slices."""
        return [torch.zeros_like(self._masters[index]) for index in indices]

    def read(self, index: int, gradient: Tensor) -> Tensor:
        """Return a slice's part of its parameter's gradient, in the master's dtype."""
        return self.slices[index].read(gradient).to(self._masters[index].dtype)

    def update(self, indices: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Take one step of the optimiser on some of the slices and round the copies from their masters."""
        for index, gradient in zip(indices, gradients, strict=True):
            self._masters[index].grad = gradient
        self._optimizer.step()
        for master in self._masters:
            master.grad = None
        for index in indices:
            self.slices[index].write(self.copies[self.slices[index].name], self._masters[index])
        # Autocast would go on with its copies of the weights as they were.
        torch.clear_autocast_cache()


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).detach()


def _optimizer(recipe: Recipe, masters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(masters, lr=learning_rate, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(masters, lr=learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(masters, lr=learning_rate, weight_decay=recipe.weight_decay)
