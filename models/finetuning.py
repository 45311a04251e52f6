"""Finetuning a live model on demonstrations and leaving it as it was: what it learned comes back as a delta.

The model's own tensors are never written to. While it trains, the model holds copies of what is trained, and
those are rounded from masters kept in fp32 (or fp64), so that updates too small for fp16 or bf16 add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..seeds import derive_seed
from ..tasks.prompt_set import TrainingSequence
from .delta import Delta, swapped
from .exclusive_use import exclusive
from .finetuning_memory import asks_for_recomputing
from .icl_targets import IclTargets, check_targets
from .loading import LanguageModel
from .lora import adapted
from .parameters import TrainedSlice, count_parameters, select_parameters, untrained_slices
from .recipe import Recipe
from .stepper import Stepper, objective_of
from .token_loss import batches, check_sequences, evaluation_mode, loss_token_count
from .trained_copies import TrainedCopies

Progress = Callable[[int, int, float], None]
Observe = Callable[[int, Mapping[str, Tensor], int], None]


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
        initial_loss: The loss over all demonstrations before the first update, see `training_loss`; None where that
            was not measured.
        recomputed: Whether activations were computed again in each backward pass, because keeping them asked for
            more memory than there was.
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
    initial_loss: float | None = None
    recomputed: bool = False

    @property
    def first_loss(self) -> float:
        """The loss before the first update: over all demonstrations, or the first step's where no other is known."""
        return self.losses[0] if self.initial_loss is None else self.initial_loss

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
    observe: Observe | None = None,
    watch: Literal["trained", "layers"] = "trained",
    progress: Progress | None = None,
    forward_size: int = 8,
    recompute: bool | None = None,
    targets: IclTargets | None = None,
) -> Finetuning:
    """Finetune a model on demonstrations and take the change out of it again.

    Layers below the first trained one run once, whatever the number of epochs.

    The loss of a step is the mean over the loss tokens of its whole batch, so with one demonstration a step
    it is that demonstration's mean per token, and in a larger batch a longer one weighs more (as in the
    public code of Dai et al. 2023). Dropout is off. The model leaves with its own tensors, modes,
    ``requires_grad`` flags and gradients, whatever happens.

    Args:
        model: The model, of any dtype and on any device.
        training: The demonstrations, in the order in which steps take them unless the recipe shuffles; the
            ``sequences`` of the targets for a recipe that imitates ICL.
        recipe: How to finetune.
        learning_rate: The learning rate; what ``auto`` and ``published`` stand for is decided by the caller.
        seed: Seed of the shuffled orders, of a drawn layer and of adapters; nothing else is random.
        evaluate: Called with the epoch, counted from 1, while the model holds what it has learned so far:
            after every ``evaluation_epochs`` epochs and after the last.
        observe: Called after each step with the step, counted from 1, the gradients that it was made of (not
            clipped, in fp32, by parameter name; of a fused weight the trained rows alone) and the number of
            loss tokens, or imitated records, that they are the mean over.
        watch: Whose gradients are observed: the ``trained`` parameters', or with ``layers`` also those of every
            other parameter of the decoder layers, which stay as they are.
        progress: Called after each step with the step, the number of steps and the loss.
        forward_size: Demonstrations per forward; a larger batch adds up gradients. Changes memory only.
        recompute: Whether layers' activations are computed again in the backward pass rather than kept: a forward
            more for each backward, and far less memory. None does so where keeping them would take more than is free.
        targets: What ICL gives on the training sequences, for ``match_icl`` and ``distill_icl``.

    Raises:
        FinetuningDiverged: If the loss or the weights become infinite or NaN, or the loss exceeds ten times
            that of the first step and by more than 20 nats.
        UserError: If the demonstrations, the selection or the learning rate cannot be used.
    """
    check_sequences(model, training)
    check_targets(recipe, targets)
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"learning rate {learning_rate!r} is no positive number: give one such as 1e-4")
    evaluations: list[int] = []
    with (
        _selected(model, recipe, seed) as selected,
        torch.inference_mode(False),
        torch.enable_grad(),
        evaluation_mode(model.module),
        adapted(model, recipe, seed) as adapters,
    ):
        if recompute is None:
            recompute = targets is None and asks_for_recomputing(model, training, recipe, seed, forward_size)
        slices = selected if adapters is None else adapters.slices
        watched = untrained_slices(model, slices) if watch == "layers" else {}
        trained = TrainedCopies(model, slices, recipe, learning_rate)
        size = forward_size if model.family.pads else 1
        with (
            _requiring_gradients(model.module, [*trained.copies, *(one.name for one in watched.values())]),
            swapped(model.module, trained.copies),
        ):
            objective = objective_of(model, trained, recipe, size, targets, watched, recompute)
            vocabulary = model.module.config.get_text_config().vocab_size
            stepper = Stepper(objective, trained, recipe, learning_rate, vocabulary)
            for epoch in range(1, recipe.epochs + 1):
                ordered = _order(training, recipe, seed, epoch)
                for batch in batches(ordered, recipe.batch_size_of(len(training))):
                    loss = stepper.step(batch)
                    if observe is not None:
                        observe(len(stepper.losses), stepper.gradients, _mean_over(recipe, batch))
                    if progress is not None:
                        progress(len(stepper.losses), recipe.steps(len(training)), loss)
                if epoch < recipe.epochs and evaluate is not None and recipe.is_evaluated(epoch):
                    _evaluate(evaluate, epoch, evaluations)
            final_loss = stepper.final_loss(training)
            if evaluate is not None:
                _evaluate(evaluate, recipe.epochs, evaluations)
            delta = Delta(trained.copies if adapters is None else adapters.merged())
        trained_parameters = count_parameters(model, slices)
    return Finetuning(
        delta=delta,
        losses=tuple(stepper.losses),
        final_loss=final_loss,
        epochs=recipe.epochs,
        steps=len(stepper.losses),
        learning_rate=learning_rate,
        recipe=recipe,
        trained_parameters=trained_parameters,
        evaluations=tuple(evaluations),
        recomputed=recompute,
    )


def training_loss(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    recipe: Recipe,
    seed: int,
    forward_size: int = 8,
    targets: IclTargets | None = None,
) -> float:
    """Return a recipe's loss over all demonstrations as the model is; arguments are those of `finetune`."""
    check_sequences(model, training)
    check_targets(recipe, targets)
    slices = select_parameters(model, recipe.parameters, recipe.include_bias, seed)
    with torch.inference_mode(False), evaluation_mode(model.module):
        trained = TrainedCopies(model, slices, recipe, learning_rate=1.0)
        size = forward_size if model.family.pads else 1
        return objective_of(model, trained, recipe, size, targets).value(training)


def _mean_over(recipe: Recipe, batch: Sequence[TrainingSequence]) -> int:
    """Return how many loss tokens, or imitated records, the loss of a batch is the mean over."""
    if recipe.objective != "text":
        return len(batch)
    return sum(loss_token_count(one, recipe.loss_tokens) for one in batch)


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
def _selected(model: LanguageModel, recipe: Recipe, seed: int) -> Iterator[tuple[TrainedSlice, ...]]:
    """Yield what a recipe trains, and keep the model from other threads while the context lasts."""
    with exclusive(model.module, "finetuning"):
        yield select_parameters(model, recipe.parameters, recipe.include_bias, seed)


@contextmanager
def _requiring_gradients(module: torch.nn.Module, names: Sequence[str]) -> Iterator[None]:
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
