"""The native engine: the tap, in the forward of the model's own module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from torch import Tensor

from ..forward import run_forward
from ..forward_rows import Recording
from ..resolved_plan import ResolvedPlan
from ..rows import Wanted
from ..tap import Recorder


class NativeEngine:
    """Reads attention where the model's own module computes it.

    Attributes:
        name: ``native``.
        version: That of transformers, whose modules run.
        takes_cache: True.
        attends_apart: True; the tap hears of both.
        forms_scores: False; what the model's own attention does is known without.
    """

    name = "native"
    version = transformers.__version__
    takes_cache = True
    attends_apart = True
    forms_scores = False

    @contextmanager
    def open(self, resolved: ResolvedPlan) -> Iterator[_Tapped]:
        """Tap the model."""
        recorder = Recorder(resolved)
        with recorder.attached():
            yield _Tapped(recorder)


class _Tapped:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def forward(self, tokens: Tensor, exists: Tensor, **options: Any) -> Any:
        with self.recorder.paused():
            return run_forward(self.recorder.resolved.model, tokens, exists, **options)

    def record(self, wanted: Wanted, tokens: Tensor, exists: Tensor, **options: Any) -> tuple[Any, Recording]:
        self.recorder.expect(wanted)
        output = run_forward(self.recorder.resolved.model, tokens, exists, **options)
        return output, self.recorder.take()
