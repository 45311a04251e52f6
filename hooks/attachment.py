"""What is attached to a model for as long as a context lasts, and told when a forward begins and ends."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ..models.exclusive_use import exclusive
from ..models.forward_signature import forward_signature
from ..models.live_module import running_eagerly
from .resolved_plan import ResolvedPlan
from .running_forward import RunningForward


class Attachment(ABC):
    """Hooks of a plan's sites on a model, for the forwards of the thread that attached them.

    Attributes:
        resolved: What the plan asks for.
    """

    def __init__(self, forward: RunningForward, what: str) -> None:
        self.resolved: ResolvedPlan = forward.resolved
        self._forward, self._what = forward, what
        self._caller: torch.nn.Module | None = None

    @abstractmethod
    def listen(self, stack: ExitStack) -> None:
        """Attach to the sites; the stack detaches."""

    @abstractmethod
    def begun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what a forward brings, before the model runs."""

    @abstractmethod
    def finished(self) -> None:
        """Check a forward that came to its end."""

    def inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs of a forward by name."""
        inputs = forward_signature(self.resolved.model.module).bind(*args, **kwargs).arguments
        return inputs | inputs.get("kwargs", {})

    def begin(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a forward; called by a hook before the model runs."""
        if self._forward.elsewhere or self._caller is not None:
            return
        self._caller = module
        self._forward.forget()
        self.begun(args, kwargs)

    def finish(self, module: torch.nn.Module, *_: Any) -> None:
        """Finish the forward."""
        if not self._forward.elsewhere and module is self._caller:
            self.finished()

    def end(self, module: torch.nn.Module, *_: Any) -> None:
        """Forget the forward, also one that raised."""
        if not self._forward.elsewhere and module is self._caller:
            self._caller = None
            self._forward.forget()
            self._forward.wanted = None

    @contextmanager
    def attached(self, caller: torch.nn.Module | None = None) -> Iterator[None]:
        """Attach to the model: its own hooks only, all removed on leaving, whatever happened.

        Args:
            caller: A module around the model whose forward passes the model's hooks by.
        """
        module = self.resolved.model.module
        entries = [module] if caller is None else [module, caller]
        self._forward.thread = threading.get_ident()
        with ExitStack() as stack:
            stack.enter_context(exclusive(module, self._what))
            stack.enter_context(running_eagerly())
            for entry in entries:
                stack.callback(entry.register_forward_pre_hook(self.begin, with_kwargs=True).remove)
            self.listen(stack)
            for entry in entries:
                stack.callback(entry.register_forward_hook(self.finish).remove)
                stack.callback(entry.register_forward_hook(self.end, always_call=True).remove)
            yield
