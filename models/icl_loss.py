"""What both ways of imitating ICL share: zero-shot prompts of training records, and the gradient of a distance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..tasks.prompt_set import TrainingSequence
from .held_out import runs_alike
from .icl_targets import IclTargets
from .loading import LanguageModel
from .loss_step import LossStep, at_largest_scale, loss_scales
from .parameters import TrainedSlice
from .rotation import fresh_rotation
from .token_loss import forward_groups
from .trained_copies import TrainedCopies


@dataclass(frozen=True, eq=False)
class PromptRows:
    """Prompts padded on the right for one forward.

    Attributes:
        inputs: Arguments of the model, tokens ``[B, S]``.
        last: Index of each prompt's last token, ``[B]``.
        place: Where its logits stand among those that the model returns, ``[B]``.
        targets: Row of each prompt among the targets, ``[B]``.
    """

    inputs: Mapping[str, Any]
    last: Tensor
    place: Tensor
    targets: Tensor


class IclLoss(ABC):
    """The mean over records of a distance from ICL at the last prompt token.

    Attributes:
        watched_gradients: Of the latest step: the gradient of each watched parameter, by name.
    """

    def __init__(
        self,
        model: LanguageModel,
        trained: TrainedCopies,
        targets: IclTargets,
        forward_size: int,
        watched: Mapping[str, TrainedSlice] = MappingProxyType({}),
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            model: The model, which holds the trained copies while a step is taken.
            trained: What is trained.
            targets: What is imitated.
            forward_size: Records per forward.
            watched: Further parameters, or rows of them, whose gradients are wanted.
        """
        self._model, self._trained, self._targets, self._size = model, trained, targets, forward_size
        self._watched = dict(watched)
        self._watched_parameters = [model.module.get_parameter(piece.name) for piece in watched.values()]
        self._scales = loss_scales(model)
        self.watched_gradients: Mapping[str, Tensor] = {}

    @abstractmethod
    def distances(self, rows: PromptRows) -> Tensor:
        """Run prompts and return how far each lies from ICL, ``[B]`` in fp32 or fp64, differentiable."""

    def step(
        self,
        records: Sequence[TrainingSequence],
        apply: Callable[[Sequence[int], Sequence[Tensor], float], None],
    ) -> float:
        """Take one step and return the loss before it."""
        done = at_largest_scale(self._scales, lambda scale: self._scaled_step(records, scale))
        self.watched_gradients = done.watched
        apply(range(len(done.gradients)), done.gradients, done.loss)
        return done.loss

    def value(self, records: Sequence[TrainingSequence]) -> float:
        """Return the loss as the model now is."""
        with torch.no_grad():
            sums = [self._distances(rows).sum().item() for rows in self._batches(records)]
        return math.fsum(sums) / len(records)

    def _scaled_step(self, records: Sequence[TrainingSequence], scale: float) -> LossStep:
        """Return the loss of a batch and the gradient of every trained slice, added up over forwards."""
        done = LossStep(gradients=self._trained.zeros(range(len(self._trained.slices))))
        parameters = [*self._trained.parameters, *self._watched_parameters]
        for rows in self._batches(records):
            loss = self._distances(rows).sum() / len(records)
            done.loss += loss.item()
            gradients = torch.autograd.grad(loss * scale, parameters, materialize_grads=True)
            for index, total in enumerate(done.gradients):
                total.add_(self._trained.read(index, gradients[index]), alpha=1 / scale)
            done.add_watched(self._watched, gradients[len(done.gradients) :], 1 / scale)
        return done

    def _distances(self, rows: PromptRows) -> Tensor:
        with fresh_rotation(self._model.module):
            return self.distances(rows)

    def _batches(self, records: Sequence[TrainingSequence]) -> list[PromptRows]:
        """Return records as padded prompts, those of about one length together."""
        lengths = [record.label_start for record in records]
        batches = []
        for alike in forward_groups(self._model, lengths, len(records)):
            order = sorted(alike, key=lambda place: lengths[place])
            batches += [
                self._rows([records[place] for place in some])
                for some in runs_alike(lengths, order, self._size)
            ]
        return batches

    def _rows(self, records: Sequence[TrainingSequence]) -> PromptRows:
        device = self._model.device
        last = torch.tensor([record.label_start - 1 for record in records])
        ids = torch.zeros(len(records), int(last.max()) + 1, dtype=torch.long)
        for row, record in zip(ids, records, strict=True):
            row[: record.label_start] = torch.tensor(record.ids[: record.label_start])
        inputs: dict[str, Any] = {
            "input_ids": ids.to(device),
            "attention_mask": (torch.arange(ids.shape[1]) <= last[:, None]).long().to(device),
            "use_cache": False,
        }
        place = last
        if "logits_to_keep" in self._model.arguments:
            kept, place = last.unique(return_inverse=True)
            inputs["logits_to_keep"] = kept.to(device)
        return PromptRows(inputs, last, place, self._targets.places(records))
