"""What a live model itself computes as queries, keys, values and attention outputs of single tokens.

Independent of the package: where projections are separate modules their outputs are read; where they are fused,
queries are taken from the model's own product of queries and keys, and keys and values from its cache. At position
0, where every rotary embedding is the identity, all of them are bare projections of the attention's input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import drawn_weights
import eager_oracle
import tiny_families
import torch
from torch.overrides import TorchFunctionMode


class Projected(NamedTuple):
    """N tokens through one projection: what went in [N, in], what came out [N, out]."""

    given: torch.Tensor
    made: torch.Tensor


def own_projections(model: Any, key_value_heads: int) -> list[dict[str, Projected]]:
    """For each layer what its query, key, value and output projections make of every token of the vocabulary."""
    layout = eager_oracle.layout_of(model)
    layers = eager_oracle.decoder_layers(model)
    seen: list[dict[str, Projected]] = [{} for _ in layers]
    handles = []
    for parts, layer in zip(seen, layers, strict=True):
        attention = layer.get_submodule(layout.attention)
        for name, module in attention.named_children():
            matrix = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}.get(name)
            if matrix is None and drawn_weights.PROJECTION.search(name):
                matrix = "fused"
            if matrix is not None:
                handles.append(module.register_forward_hook(_keeper(parts, matrix)))
        output = layer.get_submodule(layout.output_projection)
        handles.append(output.register_forward_hook(_keeper(parts, "output")))
    ids = torch.arange(tiny_families.VOCABULARY)[:, None]
    with torch.no_grad(), _Products(len(ids)) as products:
        cache = model(input_ids=ids, use_cache=True).past_key_values
    for handle in handles:
        handle.remove()
    for index, parts in enumerate(seen):
        if "fused" in parts:
            assert len(products.queries) == len(layers)
            given = parts.pop("fused").given
            kept = cache.layers[index]
            parts["query"] = Projected(given, products.queries[index])
            parts["key"] = Projected(given, _without_repeats(kept.keys, key_value_heads))
            parts["value"] = Projected(given, _without_repeats(kept.values, key_value_heads))
        assert parts.keys() == {"query", "key", "value", "output"}
    return seen


def _keeper(parts: dict[str, Projected], matrix: str) -> Callable[..., None]:
    def keep(module: torch.nn.Module, args: Any, made: torch.Tensor) -> None:
        # Cloned at once: Falcon adds to the attention output in place.
        parts[matrix] = Projected(args[0].flatten(0, 1).clone(), made.flatten(0, 1).clone())

    return keep


def _without_repeats(states: torch.Tensor, heads: int) -> torch.Tensor:
    """One of each group of equal heads in [N, H, 1, D], as [N, heads * D]: Falcon's cache repeats them."""
    groups = states.unflatten(1, (heads, -1))
    assert (groups == groups[:, :, :1]).all()
    return groups[:, :, 0].flatten(1)


class _Products(TorchFunctionMode):
    """Keeps the queries of every product of queries and keys, in the order of the calls."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.queries: list[torch.Tensor] = []

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        query = None
        if func is torch.nn.functional.scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
        elif func is torch.Tensor.baddbmm:
            query = kwargs["batch1"] if "batch1" in kwargs else args[1]
        elif func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
            left, right = args[0], args[1]
            # Keys arrive transposed, [N, H, D, 1]; the later product with values has [N, H, 1, D].
            if left.dim() == right.dim() == 4 and left.shape[-1] == right.shape[-2] > 1:
                query = left
        if query is not None:
            self.queries.append(query.detach().float().reshape(self.tokens, -1).clone())
        return func(*args, **kwargs)
