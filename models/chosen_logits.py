"""Logits of some tokens of a padded batch, and of no others: what stands at them alone goes through the head.

A model can be asked for some positions, the same ones of every row. In a padded batch the tokens that matter stand
elsewhere in each row, so most of these logits would be of nothing. Here the model's own forward runs, and between the
last layer and what is behind it (final norm, unembedding, logit scale, softcap) the tokens that matter are put
together into few rows.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .exclusive_use import exclusive
from .loading import LanguageModel
from .partial_forward import PartialForward

# Whether what is behind the layers of a model looks at each token by itself.
_packs: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
# A batch on which that is seen: so many rows of so many tokens, and which of them are put together.
_ROWS, _LENGTH = 3, 4
_CHOSEN = ((0, 0, 1, 2, 2), (1, 3, 0, 1, 2))


def run_at(
    model: LanguageModel, inputs: Mapping[str, Any], rows: Tensor, positions: Tensor
) -> tuple[Any, Tensor]:
    """Run a model on a padded batch; return its output and the logits of chosen tokens.

    Args:
        model: The model.
        inputs: Its arguments, without ``logits_to_keep``; token ids are ``[B, S]``.
        rows: Which row each of the M tokens stands in, ``[M]``.
        positions: At which of the S places, ``[M]``.

    Returns:
        The output, whose own logits are of these tokens and perhaps of others; and theirs, ``[M, V]``.
    """
    batch, length = inputs["input_ids"].shape
    chooses = "logits_to_keep" in model.arguments
    kept, places = positions.unique(return_inverse=True)
    packed = _Packed.of(len(rows), length, chooses)
    if packed.logits < batch * (len(kept) if chooses else length) and packs(model):
        with _packing(model, rows, positions, packed):
            output = model.module(**inputs, **packed.chosen(model))
        return output, packed.unpack(output.logits)
    if chooses:
        inputs = {**inputs, "logits_to_keep": kept.to(model.device)}
    output = model.module(**inputs)
    logits = output.logits
    found = places if logits.shape[1] == len(kept) else positions
    return output, logits[rows.to(logits.device), found.to(logits.device)]


def packs(model: LanguageModel) -> bool:
    """Tell whether what is behind a model's layers takes tokens put together as it takes them where they stand.

    It is seen on a few random states, once for each model, when nobody listens to its modules: they would hear of
    another forward than they expect. Until then it is False.
    """
    known = _packs.get(model.module)
    if known is None and any(
        each._forward_pre_hooks or each._forward_hooks for each in model.module.modules()
    ):
        return False
    if known is None:
        known = _packs[model.module] = not model.family.shares_keys and _gives_the_same(model)
    return known


class _Packed:
    """How M tokens are put together: in the first columns of a few rows, which are as long as those of the batch."""

    def __init__(self, count: int, rows: int, columns: int, length: int, chooses: bool) -> None:
        self.count, self.rows, self.columns, self.length, self.chooses = count, rows, columns, length, chooses

    @classmethod
    def of(cls, count: int, length: int, chooses: bool) -> _Packed:
        # Rows keep their length, for some models give hidden states the shape of the token ids again.
        rows = math.ceil(count / length)
        return cls(count, rows, math.ceil(count / rows), length, chooses)

    @property
    def logits(self) -> int:
        """Of how many tokens logits are computed."""
        return self.rows * (self.columns if self.chooses else self.length)

    def chosen(self, model: LanguageModel) -> dict[str, Any]:
        return {"logits_to_keep": torch.arange(self.columns, device=model.device)} if self.chooses else {}

    def pack(self, states: Tensor) -> Tensor:
        """Return states of the tokens, ``[M, d]``, as ``[rows, S, d]``."""
        missing = self.rows * self.columns - self.count
        together = torch.nn.functional.pad(states, (0, 0, 0, missing)).unflatten(0, (self.rows, self.columns))
        return torch.nn.functional.pad(together, (0, 0, 0, self.length - self.columns))

    def unpack(self, logits: Tensor) -> Tensor:
        """Return ``[rows, S or columns, V]`` as ``[M, V]``."""
        return logits[:, : self.columns].flatten(0, 1)[: self.count]


@contextmanager
def _packing(model: LanguageModel, rows: Tensor, positions: Tensor, packed: _Packed) -> Iterator[None]:
    """Let what is behind the last layer see chosen tokens alone; whoever listens to that layer already sees all."""
    mine = threading.get_ident()

    def hook(_: torch.nn.Module, __: Any, output: Any) -> Any:
        if threading.get_ident() != mine:
            return output
        hidden = output[0] if isinstance(output, tuple | list) else output
        together = packed.pack(hidden[rows.to(hidden.device), positions.to(hidden.device)])
        return together if hidden is output else (together, *output[1:])

    handle = model.layers[-1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _gives_the_same(model: LanguageModel) -> bool:
    """Return whether logits of a few tokens are the same put together and where they stand."""
    chooses = "logits_to_keep" in model.arguments
    ids = torch.zeros(_ROWS, _LENGTH, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    rows, positions = map(torch.tensor, _CHOSEN)
    with exclusive(model.module, "looking at the head"), torch.no_grad():
        partial = PartialForward(model)
        entering, _ = partial.calls(inputs)
        if entering.shape[:-1] != ids.shape:
            return False
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(entering.shape, generator=generator).to(entering)

        def logits(**chosen: Any) -> Tensor:
            # Not called as a module: whoever listens to its forwards would miss the layers.
            with partial.from_layer(model.n_layers, hidden):
                return model.module.forward(**inputs, **chosen).logits.float()

        where_they_stand = logits()[rows, positions]
        packed = _Packed.of(len(rows), _LENGTH, chooses)
        try:
            with _packing(model, rows, positions, packed):
                together = packed.unpack(logits(**packed.chosen(model)))
        except (RuntimeError, ValueError, IndexError):
            # Something behind the layers goes by the shape of the batch.
            return False
    size = float(where_they_stand.abs().max())
    tolerance = 8 * torch.finfo(model.dtype).eps * max(size, 1e-30)
    return together.shape == where_they_stand.shape and bool(
        ((together - where_they_stand).abs() <= tolerance).all()
    )
