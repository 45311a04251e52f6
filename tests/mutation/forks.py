"""A forked process for each change, so that torch is imported once and nothing that a change breaks stays."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import TypeVar

import pytest

from .covering import Failures

Result = TypeVar("Result")
_MEMORY = 24 << 30
_TESTS = Path(__file__).resolve().parents[1]


def in_fork(work: Callable[[], Result], seconds: int) -> Result | None:
    """Return what a function returns in a forked process, or None if that dies or takes too long.

    Args:
        work: What to do there.
        seconds: Processor time that it may take; it may wait ten times as long.
    """
    with tempfile.TemporaryFile() as answer:
        process = os.fork()
        if process == 0:
            try:
                signal.alarm(10 * seconds)
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
                resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
                silent = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(silent, stream)
                result = work()
                pickle.dump(result, answer)
                answer.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        answer.seek(0)
        try:
            return pickle.load(answer)
        except EOFError:
            return None


def functions_of(file: str) -> list[FunctionType]:
    """Return the functions that are alive and whose code stands in a file."""
    return [
        thing
        for thing in gc.get_objects()
        if type(thing) is FunctionType and thing.__code__.co_filename == file
    ]


def passes_swapped(
    functions: Sequence[FunctionType], code: CodeType, items: Sequence[pytest.Item], failures: Failures
) -> bool:
    """Give the living functions their changed code and run tests that are collected already.

    Returns:
        Whether all passed. A change that no living function could take passes.
    """
    changed = _functions_in(code)
    for function in functions:
        key = (function.__code__.co_qualname, function.__code__.co_firstlineno)
        if key in changed and len(changed[key].co_freevars) == len(function.__code__.co_freevars):
            function.__code__ = changed[key]
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failures.tests:
            return False
    return True


def passes_fresh(file: str, code: CodeType, tests: Sequence[str], options: list[str]) -> bool:
    """Forget all modules of the repository and run tests anew, the changed file being imported as changed."""
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None) or ""
        if name.split(".")[0] == "iclprobe" or origin.startswith(f"{_TESTS}/"):
            del sys.modules[name]
    unchanged = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return code if self.get_filename(fullname) == file else unchanged(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    return pytest.main([*options, "-x", *tests]) == pytest.ExitCode.OK


def _functions_in(code: CodeType) -> dict[tuple[str, int], CodeType]:
    found = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found[constant.co_qualname, constant.co_firstlineno] = constant
            found |= _functions_in(constant)
    return found
