"""Everything about a model that finetuning must leave as it was, and sequences to finetune it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tiny_families
import torch
from transformers import PreTrainedModel

from iclprobe.tasks.prompt_set import TrainingSequence


@dataclass(frozen=True)
class Snapshot:
    tensors: dict[str, torch.Tensor]
    addresses: dict[str, int]
    requires_grad: dict[str, bool]
    training: dict[str, bool]
    gradients: dict[str, torch.Tensor | None]


def fresh(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A private copy of a tiny model in another dtype (the type of `PreTrainedModel.to` is none a checker reads)."""
    module: Any = tiny_families.fresh(name)
    return module.to(dtype)


def snapshot(module: PreTrainedModel) -> Snapshot:
    parameters = dict(module.named_parameters())
    return Snapshot(
        tensors={name: tensor.detach().clone() for name, tensor in _tensors(module).items()},
        addresses={name: tensor.data_ptr() for name, tensor in _tensors(module).items()},
        requires_grad={name: parameter.requires_grad for name, parameter in parameters.items()},
        training={name: part.training for name, part in module.named_modules()},
        gradients={name: _copy(parameter.grad) for name, parameter in parameters.items()},
    )


def assert_as_it_was(module: PreTrainedModel, before: Snapshot) -> None:
    now = snapshot(module)
    assert now.addresses == before.addresses
    assert now.requires_grad == before.requires_grad
    assert now.training == before.training
    for name, tensor in before.tensors.items():
        assert same_bits(now.tensors[name], tensor), name
    for name, gradient in before.gradients.items():
        after = now.gradients[name]
        assert after is gradient is None or same_bits(_given(after), _given(gradient)), name


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    left, right = (side.contiguous().view(-1).view(torch.uint8) for side in (left, right))
    return bool(torch.equal(left, right))


def sequences(count: int = 4, seed: int = 0, shortest: int = 6) -> list[TrainingSequence]:
    """Training sequences of different lengths with labels of one or two tokens."""
    lengths = [shortest + 2 * index for index in range(count)]
    return [
        TrainingSequence(tuple(tiny_families.random_ids(length, 1000 * seed + index)), length - 1 - index % 2)
        for index, length in enumerate(lengths)
    ]


def one_by_one_nll(
    module: PreTrainedModel, training: Sequence[TrainingSequence], loss_tokens: str
) -> tuple[torch.Tensor, int]:
    """The summed negative log-likelihood and the number of loss tokens, token by token, without padding."""
    total, count = torch.zeros(()), 0
    for sequence in training:
        logits = module(input_ids=torch.tensor([sequence.ids])).logits[0].float()
        first = sequence.label_start if loss_tokens == "label" else 1
        for position in range(first, len(sequence.ids)):
            total = total - logits[position - 1].log_softmax(-1)[sequence.ids[position]]
            count += 1
    return total, count


def _tensors(module: Any) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.clone()


def _given(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor
