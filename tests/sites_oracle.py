"""Slow, independent witnesses of what a layer computes: modules run again by hand, one unpadded prompt at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import eager_oracle
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Module = Any
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


def layer_inputs(model: Module, ids: Sequence[int]) -> list[Tensor]:
    """What enters each decoder layer with attention `[S, d]`: the embedding, or what the layer below returned."""
    # Asked for hidden states, transformers leaves its own hooks in the model.
    twin = copy.deepcopy(model)
    layers, attending = eager_oracle.decoder_layers(twin), eager_oracle.attending(twin)
    stream = eager_oracle.layout_of(twin).stream
    returned: list[Tensor] = []

    def keep(module: Module, args: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        returned.append((tensor if stream is None else tensor[stream]).reshape(len(ids), -1).clone())

    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            stack.callback(layer.register_forward_hook(keep).remove)
        output = twin(input_ids=torch.tensor([list(ids)]), use_cache=False, output_hidden_states=True)
    states = output.get("decoder_hidden_states") or output.hidden_states
    first = (states[0] if stream is None or states[0].dim() == 3 else states[0][stream]).reshape(len(ids), -1)
    return [first if index == 0 else returned[index - 1] for index in attending]


def attention_results(model: Module, ids: Sequence[int]) -> list[Tensor]:
    """What the eager attention of every layer makes of pattern and values, `[H, S, D]`, by its own product."""
    twin: Any = eager_oracle.eager_copy(model)
    length = len(ids)
    results: list[Tensor] = []

    class Witness(TorchFunctionMode):
        awaiting = False

        def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func is torch.nn.functional.scaled_dot_product_attention:
                results.append(out.reshape(-1, length, out.shape[-1]).clone())
            elif func in (torch.nn.functional.softmax, torch.softmax, Tensor.softmax):
                self.awaiting = out.dim() >= 3 and out.shape[-2] == length
            elif self.awaiting and func in _PRODUCTS and tuple(args[0].shape[-2:]) == (length, length):
                results.append(out.reshape(-1, length, out.shape[-1]).clone())
                self.awaiting = False
            return out

    with Witness(), torch.no_grad():
        twin(input_ids=torch.tensor([list(ids)]), use_cache=False)
    assert len(results) == len(eager_oracle.attending(model))
    return results


def given_to_projection(model: Module, ids: Sequence[int]) -> list[Tensor]:
    """The input of every layer's output projection, `[S, H * D]`."""
    path = eager_oracle.layout_of(model).output_projection
    return inputs_of(model, ids, [path] * len(eager_oracle.attending(model)))


def inputs_of(model: Module, ids: Sequence[int], paths: Sequence[str]) -> list[Tensor]:
    """The first input of one module in every layer that has attention, `[S, …]`."""
    found: list[Tensor] = []
    with ExitStack() as stack, torch.no_grad():
        for layer, path in zip(eager_oracle.attention_layers(model), paths, strict=True):
            keep: Any = lambda module, args, kwargs: found.append(  # noqa: E731
                (args or list(kwargs.values()))[0].reshape(len(ids), -1).clone()
            )
            hook = layer.get_submodule(path).register_forward_pre_hook(keep, with_kwargs=True)
            stack.callback(hook.remove)
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return found


def head_by_head(projection: Module, given: Tensor, heads: int) -> Tensor:
    """What a linear map makes of each head alone, less what it makes of nothing, `[S, H, d]`."""
    width = given.shape[-1] // heads
    outputs = []
    with torch.no_grad():
        nothing = projection(torch.zeros_like(given))
        for head in range(heads):
            alone = torch.zeros_like(given)
            for entry in range(head * width, (head + 1) * width):
                alone[:, entry] = given[:, entry]
            outputs.append(projection(alone) - nothing)
    return torch.stack(outputs, dim=1)


def layer_with_silent(model: Module, ids: Sequence[int], place: int, paths: Sequence[str]) -> Tensor:
    """What one layer returns `[S, d]` when some of its modules return zeros."""
    layer, stream = eager_oracle.attention_layers(model)[place], eager_oracle.layout_of(model).stream
    returned: list[Tensor] = []

    def keep(module: Module, args: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        returned.append((tensor if stream is None else tensor[stream]).reshape(len(ids), -1).clone())

    with ExitStack() as stack, torch.no_grad():
        for path in paths:
            stack.callback(layer.get_submodule(path).register_forward_hook(_silent).remove)
        stack.callback(layer.register_forward_hook(keep).remove)
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return returned[0]


def mlp_feels_attention(model: Module, ids: Sequence[int], place: int, mlp: str) -> bool:
    """Whether what the MLP of a layer is given changes when the layer's attention output is zero."""
    layer = eager_oracle.attention_layers(model)[place]
    paths = [mlp if other == place else "" for other in range(len(eager_oracle.attending(model)))]
    as_it_is = inputs_of(model, ids, paths)[place]
    projection = layer.get_submodule(eager_oracle.layout_of(model).output_projection)
    hook = projection.register_forward_hook(_silent)
    try:
        return not torch.equal(inputs_of(model, ids, paths)[place], as_it_is)
    finally:
        hook.remove()


def _silent(module: Module, args: Any, output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)
