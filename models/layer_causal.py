"""Layer-causal finetuning: every layer has a loss of its own, and nothing flows back through the layers below.

Bar Natan et al., section 3.4: the output of each layer goes through the model's final norm and unembedding, and
the layer is trained on the loss of that prediction with its input held fixed. One layer's graph and one layer's
logits are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..tasks.prompt_set import TrainingSequence
from .frozen_layers import FrozenLayers
from .joint_loss import Apply
from .loading import LanguageModel
from .loss_step import LossStep, at_largest_scale, loss_scales
from .parameters import TrainedSlice, layers_of, lowest_layer
from .partial_forward import LayerCall
from .recipe import Recipe
from .token_loss import LossBatch, loss_of, loss_token_count
from .trained_copies import TrainedCopies


@dataclass
class _Part:
    """The demonstrations of one forward, and what enters the layer that is being trained."""

    batch: LossBatch
    hidden: Tensor
    calls: list[LayerCall]


class LayerCausalLoss:
    """The loss of every trained layer's read-out, added up or averaged over these layers.

    Attributes:
        watched_gradients: Of the latest step: the gradient of each watched parameter, by name.
    """

    def __init__(
        self,
        model: LanguageModel,
        trained: TrainedCopies,
        recipe: Recipe,
        forward_size: int,
        watched: Mapping[str, TrainedSlice] = MappingProxyType({}),
    ) -> None:
        """Prepare; see `JointLoss`.

        Raises:
            UserError: If something outside the decoder layers is to be trained.
        """
        outside = [
            piece.name for piece, layer in zip(trained.slices, trained.layers, strict=True) if layer is None
        ]
        if outside:
            raise UserError(
                f"layer-causal finetuning trains decoder layers, and parameters {shown(recipe.parameters)} include "
                f"{outside[0]}: take attn_kv, or an expression that matches inside the layers"
            )
        self._model, self._trained, self._recipe, self._forward_size = model, trained, recipe, forward_size
        self._indices: dict[int, list[int]] = {}
        for index, layer in enumerate(trained.layers):
            assert layer is not None
            self._indices.setdefault(layer, []).append(index)
        owners = layers_of(model, [piece.name for piece in watched.values()])
        self._watched: dict[int | None, dict[str, TrainedSlice]] = {}
        for (name, piece), layer in zip(watched.items(), owners, strict=True):
            self._watched.setdefault(layer, {})[name] = piece
        self._frozen = FrozenLayers(model, lowest_layer(trained.layers), recipe)
        self._scales = loss_scales(model)
        self._share = 1 / len(self._indices) if recipe.layer_reduction == "mean" else 1.0
        self.watched_gradients: Mapping[str, Tensor] = {}

    def step(self, demonstrations: Sequence[TrainingSequence], apply: Apply) -> float:
        """Take one step, of all layers at once or of one after the other, and return the loss before it.

        In sequential updates each layer's loss is that before its own step, behind the layers below after theirs.
        """
        parts, n_tokens = self._parts(demonstrations), self._n_tokens(demonstrations)
        sequential = self._recipe.layer_updates == "sequential"
        total, gradients = 0.0, dict[int, Tensor]()
        watched: dict[str, Tensor] = {}
        for layer in range(self._frozen.first, self._model.n_layers):
            indices = self._indices.get(layer, [])
            done = self._layer_step(layer, parts, indices, n_tokens)
            total += done.loss
            watched.update(done.watched)
            if sequential and indices:
                apply(indices, done.gradients, done.loss)
                self._run(layer, parts)
                continue
            gradients.update(zip(indices, done.gradients, strict=True))
            for part, output in zip(parts, done.outputs, strict=True):
                part.hidden = output
        if not sequential:
            apply(range(len(gradients)), [gradients[index] for index in range(len(gradients))], total)
        self.watched_gradients = watched
        return total

    def value(self, demonstrations: Sequence[TrainingSequence]) -> float:
        """Return the loss as the model now is."""
        parts, n_tokens = self._parts(demonstrations), self._n_tokens(demonstrations)
        total = 0.0
        with torch.no_grad():
            for layer in range(self._frozen.first, self._model.n_layers):
                self._run(layer, parts)
                if layer in self._indices:
                    total += sum(self._loss(part, part.hidden, n_tokens).item() for part in parts)
        return total

    def _layer_step(
        self, layer: int, parts: Sequence[_Part], indices: Sequence[int], n_tokens: int
    ) -> LossStep:
        """Run a layer on every part; a trained one gives its loss and gradients."""
        if not indices:
            with torch.no_grad():
                outputs = [
                    self._frozen.partial.run_layer(layer, part.hidden, part.calls[layer]) for part in parts
                ]
            return LossStep(outputs=outputs)
        return at_largest_scale(
            self._scales, lambda scale: self._scaled_step(layer, parts, indices, n_tokens, scale)
        )

    def _scaled_step(
        self, layer: int, parts: Sequence[_Part], indices: Sequence[int], n_tokens: int, scale: float
    ) -> LossStep:
        done = LossStep(gradients=self._trained.zeros(indices))
        others = self._watched.get(layer, {})
        parameters = [
            *(self._trained.parameters[index] for index in indices),
            *(self._model.module.get_parameter(piece.name) for piece in others.values()),
        ]
        for part in parts:
            output = self._frozen.partial.run_layer(layer, part.hidden.detach(), part.calls[layer])
            loss = self._loss(part, output, n_tokens)
            done.loss += loss.item()
            gradients = torch.autograd.grad(loss * scale, parameters, materialize_grads=True)
            for place, index in enumerate(indices):
                read = self._trained.read(index, gradients[place])
                done.gradients[place].add_(read, alpha=1 / scale)
            done.add_watched(others, gradients[len(indices) :], 1 / scale)
            done.outputs.append(output.detach())
        return done

    def _loss(self, part: _Part, output: Tensor, n_tokens: int) -> Tensor:
        with self._frozen.partial.read_out(output):
            return loss_of(self._model, part.batch).sum() * (self._share / n_tokens)

    def _run(self, layer: int, parts: Sequence[_Part]) -> None:
        """Let a layer's output, as the layer now is, enter the next."""
        with torch.no_grad():
            for part in parts:
                part.hidden = self._frozen.partial.run_layer(layer, part.hidden, part.calls[layer])

    def _parts(self, demonstrations: Sequence[TrainingSequence]) -> list[_Part]:
        parts = []
        for batch in self._frozen.batches(demonstrations, self._forward_size):
            _, calls = self._frozen.partial.calls(batch.inputs)
            parts.append(_Part(batch, self._frozen.entering(batch), calls))
        return parts

    def _n_tokens(self, demonstrations: Sequence[TrainingSequence]) -> int:
        return sum(loss_token_count(sequence, self._recipe.loss_tokens) for sequence in demonstrations)
