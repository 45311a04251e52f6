"""The tap: record what attention does in any forward that runs while it is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..models.live_module import calling_module
from ..models.loading import LanguageModel, load_model
from .attachment import Attachment
from .attention_sites import listen_to_calls
from .forward_rows import ForwardRows, Recording
from .module_sites import listen_to_modules
from .plan import SITES_OF_THE_CALL, CapturePlan
from .resolved_plan import ResolvedPlan, resolve_plan
from .rows import Wanted
from .text_prompts import begin_token
from .wanted_rows import wanted_from_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .captured import Capture


class Recorder(Attachment):
    """Collects the wanted rows of one forward after another.

    Attributes:
        recordings: What has been recorded, one entry a forward, until somebody takes it.
    """

    def __init__(self, resolved: ResolvedPlan) -> None:
        self._rows = ForwardRows(resolved)
        super().__init__(self._rows, "a tap")
        self.recordings: list[Recording] = []
        self._expected: Wanted | None = None
        self._axes: Recording = {}
        self._paused = False

    @cached_property
    def _begin_token(self) -> int | None:
        return begin_token(self.resolved.model)

    def expect(self, wanted: Wanted) -> None:
        """Say which rows of this thread's next forward are wanted, instead of reading it off its attention mask."""
        self._expected, self._rows.thread = wanted, threading.get_ident()

    def take(self) -> Recording:
        """Return and forget the recording of the latest forward."""
        return self.recordings.pop()

    def capture(self) -> Capture:
        """Return everything recorded so far as one `Capture`, in the order of the forwards."""
        from .captured import collect

        return collect(self.resolved, self.recordings)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let forwards pass unrecorded."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def begun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note which rows are wanted of a forward."""
        self._axes = {}
        if self._paused:
            self._rows.wanted = None
            return
        self._rows.wanted, self._expected = self._expected, None
        if self._rows.wanted is None:
            inputs = self.inputs(args, kwargs)
            self._rows.wanted, columns, rows = wanted_from_inputs(self.resolved, inputs, self._begin_token)
            self._axes = {"columns": columns, "rows": rows}

    def finished(self) -> None:
        """Check that every site fired once in every layer, and keep the recording."""
        if not self._paused:
            self.recordings.append(self._rows.whole() | self._axes)

    def listen(self, stack: ExitStack) -> None:
        """Attach to the sites."""
        for handle in listen_to_modules(self._rows):
            stack.callback(handle.remove)
        if self._rows.asks_for(*SITES_OF_THE_CALL):
            stack.enter_context(listen_to_calls(self._rows))


@contextmanager
def tap(model: LanguageModel | PreTrainedModel, plan: CapturePlan | None = None) -> Iterator[Recorder]:
    """Record what a plan asks for in every forward of a model that runs inside the ``with``, in this thread.

    The model's output is bit for bit what it is without the tap. Other models and other threads are untouched.
    What is compiled runs as it was written: call the module that was given, or the one inside it.

    Example:
        >>> with tap(model) as recorder:
        ...     model(input_ids, attention_mask=mask)
        >>> recorder.capture().attention_output  # [N, L, d]

    Args:
        model: The model.
        plan: What to record; by default attention outputs and scores at the last prompt token, all columns.

    Raises:
        UserError: On leaving a forward in which a requested site did not fire exactly once in a layer, or if another
            thread uses the model.
    """
    recorder = Recorder(resolve_plan(plan, load_model(model)))
    caller = None if isinstance(model, LanguageModel) else calling_module(model)
    with recorder.attached(caller):
        yield recorder
