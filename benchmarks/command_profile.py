"""Where a command's time goes: ``python -m benchmarks.command_profile FILE COMMAND …`` runs it and writes it down."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMPORTS = "imports of torch and transformers"
FORWARDS, BACKWARDS = "forwards of the model", "backwards through it"
WRITING = "tables, pictures and page"
REST = "everything else"


def profile(arguments: list[str]) -> dict[str, float]:
    """Run a command of ``iclprobe`` and return the seconds that pass in each part of it.

    What the tap does inside a forward counts as the forward's.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    began = time.perf_counter()
    with _counted(seconds, IMPORTS):
        import torch
        from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedModel  # noqa: F401
    from iclprobe.analyses import runner
    from iclprobe.cli import main

    depth = 0

    def called(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            if depth or not isinstance(module, PreTrainedModel):
                return call(module, *args, **kwargs)
            depth += 1
            try:
                with _counted(seconds, FORWARDS):
                    return call(module, *args, **kwargs)
            finally:
                depth -= 1

        return timed

    torch.nn.Module.__call__ = called(torch.nn.Module.__call__)
    torch.autograd.grad = _timed(torch.autograd.grad, seconds, BACKWARDS)
    runner.write_study = _timed(runner.write_study, seconds, WRITING)
    code = main(arguments)
    if code:
        raise SystemExit(code)
    seconds[REST] = time.perf_counter() - began - sum(seconds.values())
    return dict(seconds)


@contextmanager
def _counted(seconds: defaultdict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] += time.perf_counter() - start


def _timed(function: Callable[..., Any], seconds: defaultdict[str, float], part: str) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with _counted(seconds, part):
            return function(*args, **kwargs)

    return timed


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(profile(sys.argv[2:])))
