"""One thread at a time may record a model, or change what it holds; a second one is told so at once.

Taps, swapped weights and replaced forwards belong to the module, so every forward that another thread runs meanwhile
would be recorded, or run on weights in training. Waiting for a turn could take hours, and for ever where the one who
waits is waited for: the second thread is refused instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from ..errors import UserError


@dataclass(frozen=True, eq=False)
class _Use:
    """What one context does with a module, and in which thread."""

    thread: int
    what: str


# Reentrant, for the garbage collector may end a forgotten generator, and so its use, while another use begins.
_lock = threading.RLock()
_uses: WeakKeyDictionary[torch.nn.Module, list[_Use]] = WeakKeyDictionary()


@contextmanager
def exclusive(module: torch.nn.Module, what: str) -> Iterator[None]:
    """Keep a module from other threads while the context lasts; in one thread contexts may nest.

    A generator that holds the context may go on in another thread than it began in.

    Args:
        module: The model's module, which any number of `LanguageModel` may wrap.
        what: What is done with it, such as ``finetuning``, for the sentence that another thread gets.

    Raises:
        UserError: If another thread uses the module.
    """
    shared = _shared_part(module)
    use = _Use(threading.get_ident(), what)
    with _lock:
        uses = _uses.setdefault(shared, [])
        other = next((each for each in uses if each.thread != use.thread), None)
        if other is not None:
            raise UserError(
                f"cannot begin {what}: another thread uses this {type(module).__name__} ({other.what}), so let one "
                "thread wait for the other, or give each a model of its own"
            )
        uses.append(use)
    try:
        yield
    finally:
        with _lock:
            uses.remove(use)


def _shared_part(module: torch.nn.Module) -> torch.nn.Module:
    """Return what heads of several kinds on one decoder have in common."""
    base = getattr(module, "base_model", None)
    return base if isinstance(base, torch.nn.Module) else module
