"""Running a part of a model: from hidden states that enter some layer, or layer by layer.

The model's own forward runs, and decoder layers that are left out pass their input on, so that embeddings, masks,
rotations, the final norm and the unembedding stay the model's business in every family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import UserError
from .exclusive_use import exclusive
from .loading import LanguageModel
from .rotation import fresh_rotation

# How many values each layer of a model returns; None for a bare tensor.
_lengths: WeakKeyDictionary[torch.nn.Module, list[int | None]] = WeakKeyDictionary()


@dataclass(frozen=True)
class LayerCall:
    """What a decoder layer was called with, besides its hidden states.

    Attributes:
        args: Positional arguments behind the hidden states.
        kwargs: Keyword arguments, without the hidden states.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class PartialForward:
    """Parts of a model's forward. Everything it changes about the model lasts as long as one of its contexts."""

    def __init__(self, model: LanguageModel) -> None:
        """Run one token through the model, the first time, to see what its layers return.

        Args:
            model: The model.
        """
        self._model = model
        self._layers = list(model.layers)
        known = _lengths.get(model.module)
        if known is None or len(known) != len(self._layers):
            with exclusive(model.module, "looking at the layers"):
                known = _lengths[model.module] = _output_lengths(model, self._layers)
        self._lengths = known

    @contextmanager
    def from_layer(self, layer: int, hidden: Tensor) -> Iterator[None]:
        """Let every forward inside begin with layer `layer`, entered by `hidden`, ``[B, S, d]``.

        Args:
            layer: The first layer that runs; the number of layers runs the final norm and the unembedding alone.
            hidden: What enters it.
        """

        def lower(index: int, given: Tensor, call: LayerCall) -> Tensor:
            return hidden.to(given.device) if index == layer - 1 else given

        with self._passing(range(layer), lower):
            yield

    @contextmanager
    def keeping(self, layer: int, kept: dict[int, Tensor], place: int) -> Iterator[None]:
        """Let the model run whole and put what enters layer `layer` into ``kept[place]``."""

        def keep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kept[place] = _split(args, kwargs)[0].detach().clone()

        handle = self._layers[layer].register_forward_pre_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def calls(self, inputs: Mapping[str, Any]) -> tuple[Tensor, list[LayerCall]]:
        """Return what enters the first layer, ``[B, S, d]``, and how every layer is called; no layer runs.

        Args:
            inputs: Arguments of the model.
        """
        entering: list[Tensor] = []
        calls: list[LayerCall] = []

        def note(index: int, given: Tensor, call: LayerCall) -> Tensor:
            entering.append(given)
            calls.append(call)
            return given

        with torch.no_grad(), self._passing(range(len(self._layers)), note):
            # Not called as a module: whoever listens to its forwards would miss the layers.
            self._model.module.forward(**inputs)
        return entering[0].detach(), calls

    def hidden_entering(self, layer: int, inputs: Mapping[str, Any]) -> Tensor:
        """Run the layers below `layer` without gradients and return what enters it, ``[B, S, d]``."""
        with torch.no_grad():
            hidden, calls = self.calls(inputs)
            for index in range(layer):
                hidden = self.run_layer(index, hidden, calls[index])
        return hidden

    def run_layer(self, index: int, hidden: Tensor, call: LayerCall) -> Tensor:
        """Run one layer and return its output, ``[B, S, d]``."""
        output = self._layers[index](hidden, *call.args, **call.kwargs)
        return output[0] if isinstance(output, tuple | list) else output

    def read_out(self, hidden: Tensor) -> AbstractContextManager[None]:
        """Let every forward inside be the final norm and the unembedding of a layer's output.

        Args:
            hidden: The output of any layer, ``[B, S, d]``, for the tokens that are given.
        """
        return self.from_layer(len(self._layers), hidden)

    @contextmanager
    def _passing(self, indices: range, give: Callable[[int, Tensor, LayerCall], Tensor]) -> Iterator[None]:
        """Replace the forward of some layers by a function of their input.

        Raises:
            UserError: If layers need more of those below than what enters them.
        """
        if indices and self._model.family.shares_keys:
            raise UserError(
                f"layers of {self._model.name!r} take keys and values of layers below, so none can run without them: "
                "finetune by the model's own loss"
            )
        changed: list[tuple[torch.nn.Module, Any]] = []
        with exclusive(self._model.module, "running some layers alone"):
            try:
                for index in indices:
                    module = self._layers[index]
                    changed.append((module, module.__dict__.get("forward")))
                    module.forward = self._forward_giving(index, give)
                yield
            finally:
                for module, earlier in changed:
                    if earlier is None:
                        del module.forward
                    else:
                        module.forward = earlier

    def _forward_giving(
        self, index: int, give: Callable[[int, Tensor, LayerCall], Tensor]
    ) -> Callable[..., Any]:
        length = self._lengths[index]

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, call = _split(args, kwargs)
            given = give(index, hidden, call)
            return given if length is None else (given, *[None] * (length - 1))

        return forward


def _split(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, LayerCall]:
    if args:
        return args[0], LayerCall(args[1:], dict(kwargs))
    rest = dict(kwargs)
    return rest.pop("hidden_states"), LayerCall((), rest)


def _output_lengths(model: LanguageModel, layers: list[torch.nn.Module]) -> list[int | None]:
    """Return how many values each layer returns; None where it returns a bare tensor."""
    lengths: dict[int, int | None] = {}

    def look(index: int) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            lengths[index] = len(output) if isinstance(output, tuple | list) else None

        return hook

    handles = [layer.register_forward_hook(look(index)) for index, layer in enumerate(layers)]
    try:
        with torch.no_grad(), fresh_rotation(model.module):
            model.module(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [lengths[index] for index in range(len(layers))]
