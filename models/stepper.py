"""The steps of a finetuning: the loss that a recipe makes smaller, its gradients, and whether it diverges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from ..errors import UserError
from ..tasks.prompt_set import TrainingSequence
from .clipping import clip_gradients
from .distill_loss import DistillLoss
from .icl_targets import IclTargets
from .joint_loss import JointLoss
from .layer_causal import LayerCausalLoss
from .loading import LanguageModel
from .match_loss import MatchLoss
from .parameters import TrainedSlice
from .recipe import Recipe
from .trained_copies import TrainedCopies
from .undefined_entries import all_finite


class FinetuningDiverged(UserError):
    """The loss or the weights became infinite, NaN or far larger than at the start.

    Attributes:
        step: The step at which it was seen, counted from 1; one more than there are for the final loss.
        loss: The loss there.
        learning_rate: The learning rate.
    """

    def __init__(self, what: str, step: int, loss: float, learning_rate: float) -> None:
        """Say what was seen, where, and what to do."""
        super().__init__(
            f"finetuning with learning rate {learning_rate:g} diverged: {what} at step {step}; the model is "
            "as it was, so take a smaller learning rate, or auto"
        )
        self.step, self.loss, self.learning_rate = step, loss, learning_rate


def diverging_loss(first: float) -> float:
    """Return the loss above which training diverges: ten times the first one, and 20 nats above it at the least."""
    return max(10 * first, first + 20)


Objective = JointLoss | LayerCausalLoss | MatchLoss | DistillLoss


def objective_of(
    model: LanguageModel,
    trained: TrainedCopies,
    recipe: Recipe,
    forward_size: int,
    targets: IclTargets | None,
    watched: Mapping[str, TrainedSlice] = MappingProxyType({}),
    recompute: bool = False,
) -> Objective:
    """Return the loss that a recipe makes smaller."""
    if targets is not None:
        imitating = MatchLoss if recipe.objective == "match_icl" else DistillLoss
        return imitating(model, trained, targets, forward_size, watched)
    if recipe.schedule == "layer_causal":
        return LayerCausalLoss(model, trained, recipe, forward_size, watched)
    return JointLoss(model, trained, recipe, forward_size, watched, recompute=recompute)


class Stepper:
    """Takes steps: the loss and its gradients, what is seen of them, clipping, and the update.

    Attributes:
        losses: That of each step, before it.
        gradients: Of the latest step, by parameter name.
    """

    def __init__(
        self,
        objective: Objective,
        trained: TrainedCopies,
        recipe: Recipe,
        learning_rate: float,
        vocabulary: int,
    ) -> None:
        """Begin; nothing runs yet.

        Args:
            objective: The loss.
            trained: What is trained.
            recipe: How.
            learning_rate: The learning rate.
            vocabulary: Tokens that the model tells apart.
        """
        self.objective, self.trained, self.vocabulary = objective, trained, vocabulary
        self.recipe, self.learning_rate = recipe, learning_rate
        self.losses: list[float] = []
        self.gradients: dict[str, Tensor] = {}

    def step(self, batch: Sequence[TrainingSequence]) -> float:
        """Take one step on a batch and return the loss before it."""
        self.gradients = {}
        loss = self.objective.step(batch, self._apply)
        self._check(loss, ())
        self.gradients.update(self.objective.watched_gradients)
        self.losses.append(loss)
        return loss

    def final_loss(self, training: Sequence[TrainingSequence]) -> float:
        """Return the loss over all demonstrations as the model now is; what was seen of the last step is gone."""
        self.gradients = {}
        self.objective.watched_gradients = {}
        loss = self.objective.value(training)
        self._check(loss, list(self.trained.copies.values()))
        if self.losses and self._is_blind(loss) and not self._is_blind(self.losses[0]):
            what = f"the loss ({loss:.4g}) is that of a model to which every token is equally probable"
            raise FinetuningDiverged(what, len(self.losses) + 1, loss, self.learning_rate)
        return loss

    def _is_blind(self, loss: float) -> bool:
        """Tell whether a loss is a uniform guess's to the last digit: norms make zeros of states that overflow."""
        if self.recipe.objective != "text" or self.recipe.loss_vocabulary == "labels":
            return False
        guess = math.log(self.vocabulary)
        if self.recipe.schedule == "layer_causal" and self.recipe.layer_reduction == "sum":
            guess *= len(set(self.trained.layers))
        return math.isclose(loss, guess, rel_tol=1e-6)

    def _apply(self, indices: Sequence[int], gradients: Sequence[Tensor], loss: float) -> None:
        self._check(loss, gradients)
        slices = self.trained.slices
        self.gradients.update((slices[i].name, g) for i, g in zip(indices, gradients, strict=True))
        if self.recipe.clip is not None and self.recipe.clip_value is not None:
            layers = [self.trained.layers[index] for index in indices]
            gradients = clip_gradients(gradients, layers, self.recipe.clip, self.recipe.clip_value)
        self.trained.update(indices, gradients)

    def _check(self, loss: float, tensors: Sequence[Tensor]) -> None:
        """Raise where a loss, or the gradients or weights that belong to it, show that training diverges."""
        finite = math.isfinite(loss) and all_finite(tensors)
        losses = self.losses
        if not finite and not losses:
            raise UserError(
                f"the loss of the first demonstrations is {loss:g}, or its gradient is not finite, before "
                "anything was trained: load the model in bfloat16 or float32"
            )
        step = len(losses) + 1
        if not finite:
            what = f"the loss ({loss:g}), a gradient or a weight is not finite"
            raise FinetuningDiverged(what, step, loss, self.learning_rate)
        if losses and loss > diverging_loss(losses[0]):
            what = f"the loss rose from {losses[0]:.3g} to {loss:.3g}"
            raise FinetuningDiverged(what, step, loss, self.learning_rate)
