"""What finetuning changed: the trained tensors, swapped into the live model and out of it again.

Nothing is ever added to a weight or subtracted from it, so a model that a delta was removed from holds the
very tensors it held before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..unfinished import unfinished_place
from .exclusive_use import exclusive
from .live_adapter import acting_tensors, carries_adapter
from .live_module import running_module
from .loading import LanguageModel
from .rotation import remembers_texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_changed_modules: WeakSet[torch.nn.Module] = WeakSet()


@dataclass(frozen=True, eq=False)
class Delta:
    """The tensors that finetuning changed.

    Attributes:
        tensors: The new value of each changed parameter by its dotted name, whole and in the model's dtype.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Keep a read-only copy of the mapping."""
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    @property
    def n_parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def __reduce__(self) -> tuple[type[Delta], tuple[dict[str, Tensor]]]:
        """Pickle and copy through a plain dict; a read-only mapping cannot be pickled."""
        return Delta, (dict(self.tensors),)

    @contextmanager
    def applied(self, model: LanguageModel | PreTrainedModel) -> Iterator[None]:
        """Give the model the changed tensors while the context lasts, then its own ones back, bit for bit.

        Raises:
            UserError: If the model has other parameters, or a delta is applied to it already.
        """
        module = _module(model)
        parameters = dict(module.named_parameters())
        moved = {}
        for name, tensor in self.tensors.items():
            parameter = parameters.get(name)
            if parameter is None or parameter.shape != tensor.shape:
                there = "none" if parameter is None else f"{tuple(parameter.shape)}"
                raise UserError(
                    f"the finetuned tensor {name} of shape {tuple(tensor.shape)} does not belong to this "
                    f"{type(module).__name__} (which has {there}): apply it to the model it was made from"
                )
            if parameter.dtype != tensor.dtype:
                raise UserError(
                    f"the finetuned tensor {name} is {tensor.dtype} and the model is {parameter.dtype}: load "
                    "the model in the dtype it was finetuned in"
                )
            moved[name] = tensor.to(parameter.device)
        with swapped(module, moved):
            yield

    def save(self, path: str | Path) -> None:
        """Write the tensors to a safetensors file, whole or not at all.

        Raises:
            UserError: If it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path = Path(path)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        try:
            with unfinished_place(path) as unfinished:
                save_file(tensors, unfinished, metadata={"format": "pt"})
                unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot write {str(path)!r}: {error} (choose another place)") from error

    @classmethod
    def load(cls, path: str | Path) -> Delta:
        """Read what `save` wrote.

        Raises:
            UserError: If there is no such file, or it is no safetensors file.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(load_file(Path(path)))
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot read {str(path)!r}: {error} (give a file that Delta.save wrote)"
            ) from error


@contextmanager
def swapped(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let parameters hold other tensors of the same shape, dtype and device while the context lasts.

    Raises:
        UserError: If parameters of this module are swapped already.
    """
    with exclusive(module, "holding finetuned weights"):
        if module in _changed_modules:
            raise UserError(
                f"this {type(module).__name__} already holds finetuned tensors: leave that delta's context first"
            )
        parameters = [(module.get_parameter(name), tensor.detach()) for name, tensor in tensors.items()]
        originals = [(parameter, parameter.data) for parameter, _ in parameters]
        _changed_modules.add(module)
        try:
            for parameter, tensor in parameters:
                parameter.data = tensor
            # Autocast would go on with its copies of the weights that were there before.
            torch.clear_autocast_cache()
            yield
        finally:
            for parameter, original in originals:
                parameter.data = original
            torch.clear_autocast_cache()
            _changed_modules.discard(module)


def delta_from_module(
    base: LanguageModel,
    other: PreTrainedModel | LanguageModel,
    *,
    called: str = "",
    copied: bool = True,
) -> Delta:
    """Return how a model that somebody else finetuned differs from the one it was made from.

    Args:
        base: The model before finetuning.
        other: The finetuned model. Its tensors are taken in the dtype of the base and on its devices; those beneath
            an adapter that it carries, as they act.
        called: Its name, for messages.
        copied: Whether the tensors are copied; those of a model that nobody else holds need not be.

    Raises:
        UserError: If it is not the same architecture, its tensors cannot be told from their names, or nothing
            differs.
    """
    called = "the finetuned model" + (f" {shown(called)}" if called else "")
    with exclusive(base.module, "comparing weights"):
        module = _module(other)
        theirs = _parameters(module, like=base.module)
        ours = dict(base.module.named_parameters(remove_duplicate=False))
        refuse_other_shapes(base, theirs, called)
        _refuse_other_buffers(base, module, called)
        differing: dict[str, Tensor] = {}
        first_names: dict[int, str] = {}
        for name, parameter in ours.items():
            new = theirs[name].detach().to(parameter.device, parameter.dtype)
            changed = not torch.equal(new, parameter.detach())
            first_name = first_names.setdefault(id(parameter), name)
            if first_name == name:
                if changed:
                    shared = new.data_ptr() == theirs[name].data_ptr()
                    differing[name] = new.clone() if shared and copied else new
            elif not torch.equal(new, differing.get(first_name, parameter.detach())):
                raise UserError(
                    f"{first_name} and {name} are one tensor in {shown(base.name)} and two in {called}: "
                    "load the base with untied embeddings (tie_word_embeddings=False)"
                )
        if not differing:
            raise UserError(
                f"{called} has the same weights as {shown(base.name)}: give the model or adapter after "
                "finetuning"
            )
        return Delta(differing)


def refuse_other_shapes(base: LanguageModel, theirs: Mapping[str, Tensor], called: str) -> None:
    """Refuse parameters that have other names or shapes than a model's; nothing of them is read.

    Args:
        base: The model.
        theirs: The parameters of the other one by name; they may be without memory (``meta``).
        called: What messages call the other one.

    Raises:
        UserError: If one is missing, too many, or of another shape.
    """
    ours = dict(base.module.named_parameters(remove_duplicate=False))
    for name in [*ours, *theirs]:
        shapes = [tuple(side[name].shape) if name in side else "missing" for side in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{called} is not of the architecture of {shown(base.name)}: {name} is {shapes[0]} in the base and "
                f"{shapes[1]} in it, so give a model finetuned from this base"
            )


def _refuse_other_buffers(base: LanguageModel, other: torch.nn.Module, called: str) -> None:
    buffers = dict(other.named_buffers())
    for name, buffer in base.module.named_buffers():
        if remembers_texts(base.module, name):
            continue
        there = buffers.get(name)
        if there is None or not torch.equal(there.to(buffer.device, buffer.dtype), buffer):
            raise UserError(
                f"{called} differs from {shown(base.name)} in {name}, which finetuning does not train: give both the "
                "same configuration"
            )


def _parameters(module: torch.nn.Module, like: torch.nn.Module) -> Mapping[str, Tensor]:
    """Return the parameters by name, with adapters merged into copies where the other model carries none."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if not carries_adapter(module) or carries_adapter(like):
        return parameters
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    return {name: one.read() for name, one in acting_tensors(module).items() if name not in buffers}


def _module(model: LanguageModel | PreTrainedModel) -> PreTrainedModel:
    return model.module if isinstance(model, LanguageModel) else running_module(model)
