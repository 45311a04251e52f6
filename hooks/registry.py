"""The way into attention through transformers' registry: listeners see, and may change, what a real call is given.

Behind a shared prefix the call itself is done here: the prefix and own tokens are attended to apart.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..errors import UserError, shown
from .attention_arguments import AfterCall, AttentionArguments
from .layer_behind_prefix import LayerBehindPrefix
from .prefix_attention import attend_behind_prefix

# Told of each attention call of the modules it was given, and may put other queries, keys and values in it. What it
# returns, if anything, is given the call's result afterwards and returns what stands in its place.
Listener = Callable[[AttentionArguments], AfterCall | None]

# Reentrant, for the garbage collector may end a forgotten stream while another tap begins.
_lock = threading.RLock()
_listeners: dict[str, list[Mapping[torch.nn.Module, Listener]]] = {}
# By thread: another one's forwards of the same modules stand behind no prefix.
_behind: dict[tuple[int, torch.nn.Module], LayerBehindPrefix] = {}
_replaced: dict[str, Callable[..., Any] | None] = {}


@contextmanager
def listen_to_attention(implementation: str, listeners: Mapping[torch.nn.Module, Listener]) -> Iterator[None]:
    """Tell a listener of every attention call of its module, and change nothing that it does not.

    The registry's entry is swapped under the name that the model already uses: under a new name transformers
    would build no mask. Mask and options reach the original function untouched, and other models' modules pass
    straight through. Listeners are told in the order in which they began, and may end in any.

    Args:
        implementation: The attention implementation the model runs, such as ``sdpa`` or ``eager``.
        listeners: What to call for which attention module.
    """
    with _lock:
        if not _listeners.get(implementation):
            _swap_in(implementation)
        _listeners.setdefault(implementation, []).append(listeners)
    try:
        yield
    finally:
        with _lock:
            # Compare by identity: two taps on one model hold equal mappings.
            remaining = [other for other in _listeners[implementation] if other is not listeners]
            _listeners[implementation] = remaining
            if not remaining:
                _swap_out(implementation)


@contextmanager
def attend_behind(implementation: str, layers: Mapping[torch.nn.Module, LayerBehindPrefix]) -> Iterator[None]:
    """Let attention modules attend to a prefix and to own tokens apart; listeners are told of both.

    Args:
        implementation: The attention implementation the model runs.
        layers: What each module's layer keeps; its forward caches there.
    """
    with listen_to_attention(implementation, {}):
        mine = {(threading.get_ident(), module): layer for module, layer in layers.items()}
        _behind.update(mine)
        try:
            yield
        finally:
            for key in mine:
                del _behind[key]


def other_attention(implementation: str) -> str:
    """Return the advice to load a model with another attention than the one it has."""
    others = [repr(name) for name in ("sdpa", "eager") if name != implementation]
    return f"load the model with attention={' or '.join(others)}"


def _swap_in(implementation: str) -> None:
    original = ALL_ATTENTION_FUNCTIONS.get(implementation)
    if original is None and implementation != "eager":
        raise UserError(
            f"attention implementation {shown(implementation)} is not in transformers' registry: "
            f"{other_attention(implementation)}"
        )
    local = ALL_ATTENTION_FUNCTIONS._local_mapping
    _replaced[implementation] = local.get(implementation)

    # The mask's name is transformers' own, for some models give it by name.
    def attend(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any,
        *args: Any,
        **kw: Any,
    ) -> Any:
        layer = _behind.get((threading.get_ident(), module))
        if layer is not None and not layer.gave(key, value):
            raise RuntimeError(f"{type(module).__name__} attends to other keys or values than it caches")
        call = AttentionArguments(module, query, key, value, attention_mask, kw, prefix=layer)
        told = [
            listeners[module](call) for listeners in tuple(_listeners[implementation]) if module in listeners
        ]
        if layer is None:
            function = original or own_eager_function(module)
            result = function(module, call.query, call.key, call.value, attention_mask, *args, **kw)
        else:
            result = (_attend_behind(layer, call), None)
        for after in told:
            if after is not None:
                result = after(result)
        return result

    ALL_ATTENTION_FUNCTIONS[implementation] = attend


def _attend_behind(layer: LayerBehindPrefix, call: AttentionArguments) -> Tensor:
    return attend_behind_prefix(
        call.query,
        call.key,
        call.value,
        layer.prefix_keys,
        layer.prefix_values,
        call.mask,
        whole_prefix=layer.sees_whole_prefix,
        scaling=call.options.get("scaling"),
        softcap=call.options.get("softcap"),
        sinks=call.options.get("s_aux"),
    )


def _swap_out(implementation: str) -> None:
    earlier = _replaced.pop(implementation)
    if earlier is None:
        del ALL_ATTENTION_FUNCTIONS[implementation]
    else:
        ALL_ATTENTION_FUNCTIONS[implementation] = earlier


def own_eager_function(module: torch.nn.Module) -> Callable[..., Any]:
    """Return the eager attention that the module's own forward names, which transformers takes with no entry."""
    for kind in type(module).__mro__:
        forward = inspect.unwrap(kind.__dict__.get("forward", _no_forward))
        for name in forward.__code__.co_names:
            if name.endswith("eager_attention_forward") and name in forward.__globals__:
                return forward.__globals__[name]
    raise UserError(f"{type(module).__name__} names no eager attention: {other_attention('eager')}")


def _no_forward() -> None: ...
