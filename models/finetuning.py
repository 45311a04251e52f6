"""Finetuning a live model on demonstrations and leaving it as it was: what it learned comes back as a delta.

The model's own tensors are never written to. While it trains, the model holds copies of what is trained, and
those are rounded from masters kept in fp32 (or fp64), so that updates too small for fp16 or bf16 add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..seeds import derive_seed
from ..tasks.prompt_set import TrainingSequence
from .delta import Delta, swapped
from .loading import LanguageModel
from .parameters import TrainedSlice, count_parameters, select_parameters
from .recipe import Recipe
from .token_loss import batches, check_sequences, evaluation_mode, loss_token_count, sequence_nll

Progress = Callable[[int, int, float], None]

# In fp16 a gradient vanishes below 6e-8 and overflows above 65504; where a scale overflows the next is taken.
_FP16_LOSS_SCALES = (256.0, 16.0, 1.0)


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


@dataclass(frozen=True, eq=False)
class Finetuning:
    """A finetuning that ran to its end.

    Attributes:
        delta: What it changed.
        losses: The loss of each step, before its update: the mean over the loss tokens of its batch.
        final_loss: The same over all demonstrations, after the last update.
        epochs: Passes over the demonstrations.
        steps: Updates.
        learning_rate: The learning rate, a number.
        recipe: How it was done.
        trained_parameters: How many numbers were trained.
        evaluations: The epochs, counted from 1, after which it was evaluated.
    """

    delta: Delta
    losses: tuple[float, ...]
    final_loss: float
    epochs: int
    steps: int
    learning_rate: float
    recipe: Recipe
    trained_parameters: int
    evaluations: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that there is one loss a step."""
        if len(self.losses) != self.steps:
            raise ValueError(f"{self.steps} steps have {len(self.losses)} losses")


def finetune(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    recipe: Recipe,
    *,
    learning_rate: float,
    seed: int,
    evaluate: Callable[[int], None] | None = None,
    progress: Progress | None = None,
    forward_size: int = 8,
) -> Finetuning:
    """Finetune a model on demonstrations and take the change out of it again.

    The loss of a step is the mean over the loss tokens of its whole batch, so with one demonstration a step
    it is that demonstration's mean per token, and in a larger batch a longer one weighs more (as in the
    public code of Dai et al. 2023). Dropout is off. The model leaves with its own tensors, modes,
    ``requires_grad`` flags and gradients, whatever happens.

    Args:
        model: The model, of any dtype and on any device.
        training: The demonstrations, in the order in which steps take them unless the recipe shuffles.
        recipe: How to finetune.
        learning_rate: The learning rate; what ``auto`` and ``published`` stand for is decided by the caller.
        seed: Seed of the shuffled orders; nothing else is random.
        evaluate: Called with the epoch, counted from 1, while the model holds what it has learned so far:
            after every ``evaluation_epochs`` epochs and after the last.
        progress: Called after each step with the step, the number of steps and the loss.
        forward_size: Demonstrations per forward; a larger batch adds up gradients. Changes memory only.

    Raises:
        FinetuningDiverged: If the loss or the weights become infinite or NaN, or the loss exceeds ten times
            that of the first step and by more than 20 nats.
        UserError: If the demonstrations, the selection or the learning rate cannot be used.
    """
    check_sequences(model, training)
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"learning rate {learning_rate!r} is no positive number: give one such as 1e-4")
    slices = select_parameters(model, recipe.parameters, recipe.include_bias)
    losses: list[float] = []
    evaluations: list[int] = []
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(model.module):
        stepper = _Stepper(model, slices, recipe, learning_rate, forward_size if model.family.pads else 1)
        with _requiring_gradients(model.module, stepper.copies), swapped(model.module, stepper.copies):
            for epoch in range(1, recipe.epochs + 1):
                ordered = _order(training, recipe, seed, epoch)
                for batch in batches(ordered, recipe.batch_size_of(len(training))):
                    losses.append(stepper.step(batch, losses))
                    if progress is not None:
                        progress(len(losses), recipe.steps(len(training)), losses[-1])
                if epoch < recipe.epochs and evaluate is not None and recipe.is_evaluated(epoch):
                    _evaluate(evaluate, epoch, evaluations)
            final_loss = stepper.final_loss(training, losses)
            if evaluate is not None:
                _evaluate(evaluate, recipe.epochs, evaluations)
    return Finetuning(
        delta=Delta(stepper.copies),
        losses=tuple(losses),
        final_loss=final_loss,
        epochs=recipe.epochs,
        steps=len(losses),
        learning_rate=learning_rate,
        recipe=recipe,
        trained_parameters=count_parameters(model, slices),
        evaluations=tuple(evaluations),
    )


class _Stepper:
    """The copies that the model trains on, their masters, and the optimiser over the masters."""

    def __init__(
        self,
        model: LanguageModel,
        slices: Sequence[TrainedSlice],
        recipe: Recipe,
        learning_rate: float,
        forward_size: int,
    ) -> None:
        self.model, self.slices, self.recipe = model, slices, recipe
        self.learning_rate, self.forward_size = learning_rate, forward_size
        self.parameters = [model.module.get_parameter(piece.name) for piece in slices]
        self.copies = {
            piece.name: parameter.detach().clone()
            for piece, parameter in zip(slices, self.parameters, strict=True)
        }
        # What is trained whole and is fp32 already is its own master.
        self.masters = [_at_least_fp32(piece.read(self.copies[piece.name])) for piece in slices]
        self.optimizer = _optimizer(recipe, self.masters, learning_rate)
        half = any(parameter.dtype == torch.float16 for parameter in model.module.parameters())
        self.loss_scales = _FP16_LOSS_SCALES if half else (1.0,)

    def step(self, batch: Sequence[TrainingSequence], losses: Sequence[float]) -> float:
        """Take one step on a batch, after those that had these losses, and return the loss before it."""
        loss, gradients = math.nan, []
        for scale in self.loss_scales:
            loss, gradients = self._gradients(batch, scale)
            if not math.isfinite(loss) or _all_finite(gradients):
                break
        self._check(loss, gradients, losses)
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = gradient
        self.optimizer.step()
        for piece, master in zip(self.slices, self.masters, strict=True):
            piece.write(self.copies[piece.name], master)
        return loss

    def final_loss(self, training: Sequence[TrainingSequence], losses: Sequence[float]) -> float:
        """Return the loss over all demonstrations as the model now is."""
        n_tokens = sum(loss_token_count(sequence, self.recipe.loss_tokens) for sequence in training)
        with torch.no_grad():
            sums = [
                sequence_nll(self.model, part, self.recipe.loss_tokens).sum().item()
                for part in batches(training, self.forward_size)
            ]
        loss = math.fsum(sums) / n_tokens
        self._check(loss, self.copies.values(), losses)
        return loss

    def _gradients(self, batch: Sequence[TrainingSequence], scale: float) -> tuple[float, list[Tensor]]:
        """Return the loss of a batch and the gradient of every trained slice, added up over forwards."""
        n_tokens = sum(loss_token_count(sequence, self.recipe.loss_tokens) for sequence in batch)
        loss, sums = 0.0, [torch.zeros_like(master) for master in self.masters]
        for part in batches(batch, self.forward_size):
            part_loss = sequence_nll(self.model, part, self.recipe.loss_tokens).sum() / n_tokens
            loss += part_loss.item()
            gradients = torch.autograd.grad(
                part_loss * scale, self.parameters, allow_unused=True, materialize_grads=True
            )
            for piece, total, gradient in zip(self.slices, sums, gradients, strict=True):
                total.add_(piece.read(gradient).to(total.dtype), alpha=1 / scale)
        return loss, sums

    def _check(self, loss: float, tensors: Iterable[Tensor], losses: Sequence[float]) -> None:
        """Raise where a loss, or the gradients or weights that belong to it, show that training diverges."""
        finite = math.isfinite(loss) and _all_finite(tensors)
        if not finite and not losses:
            raise UserError(
                f"the loss of the first demonstrations is {loss:g}, or its gradient is not finite, before "
                "anything was trained: load the model in bfloat16 or float32"
            )
        step = len(losses) + 1
        if not finite:
            what = f"the loss ({loss:g}), a gradient or a weight is not finite"
            raise FinetuningDiverged(what, step, loss, self.learning_rate)
        if losses and loss > max(10 * losses[0], losses[0] + 20):
            what = f"the loss rose from {losses[0]:.3g} to {loss:.3g}"
            raise FinetuningDiverged(what, step, loss, self.learning_rate)


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).detach()


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _optimizer(recipe: Recipe, masters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(masters, lr=learning_rate, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(masters, lr=learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(masters, lr=learning_rate, weight_decay=recipe.weight_decay)


def _order(
    training: Sequence[TrainingSequence], recipe: Recipe, seed: int, epoch: int
) -> Sequence[TrainingSequence]:
    if not recipe.shuffle:
        return training
    generator = torch.Generator().manual_seed(derive_seed("finetune", seed, "order", epoch))
    return [training[index] for index in torch.randperm(len(training), generator=generator).tolist()]


def _evaluate(evaluate: Callable[[int], None], epoch: int, evaluations: list[int]) -> None:
    with torch.no_grad():
        evaluate(epoch)
    evaluations.append(epoch)


@contextmanager
def _requiring_gradients(module: torch.nn.Module, names: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the named parameters and no others require gradients while the context lasts."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    wanted = {id(module.get_parameter(name)) for name in names}
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
