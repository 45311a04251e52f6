"""Commands as processes of their own, forked from one that has imported everything already.

Importing torch and transformers takes longer than most commands do. A server process imports them once; each command
is then a child of it, with its own exit code, its own output and an end that nothing can put off.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MODULES = (
    "matplotlib.pyplot",
    "pandas",
    "torch",
    "transformers",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "iclprobe.cli",
)
"""What a command would import, beside the modules of all analyses."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, below zero the signal that ended it, and what it wrote."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Commands:
    """Runs commands as children of the server."""

    server: subprocess.Popen[str]
    folder: Path

    def run(self, argv: list[str], cwd: Path, patience: int) -> Ended:
        """Run a command; one that takes more than `patience` seconds ends with the alarm's signal."""
        return self.end(self._begin(argv, cwd, patience, "std"), "std")

    def start(self, argv: list[str], cwd: Path, patience: int) -> int:
        """Run a command and return its exit code; its outputs are in the folder."""
        return self._code(self._begin(argv, cwd, patience, "std"))

    def begin(self, argv: list[str], cwd: Path, patience: int, name: str) -> int:
        """Begin a command, beside others of other names, and return its process's number."""
        return self._begin(argv, cwd, patience, name)

    def end(self, process: int, name: str) -> Ended:
        """Wait for a command that was begun."""
        code = self._code(process)
        out, err = (
            (self.folder / f"{name}{which}").read_text("utf-8", "replace") for which in ("out", "err")
        )
        return Ended(code, out, err)

    def _begin(self, argv: list[str], cwd: Path, patience: int, name: str) -> int:
        places = {which: str(self.folder / f"{name}{which}") for which in ("out", "err")}
        for place in map(Path, places.values()):
            # One that is killed may never have begun to write; opening a pipe would wait for a reader.
            if place.is_file() or not place.exists():
                place.write_bytes(b"")
        return self._ask({"argv": argv, "cwd": str(cwd), **places, "patience": patience})

    def _code(self, process: int) -> int:
        return self._ask({"wait": process})

    def _ask(self, asked: dict[str, Any]) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


@contextmanager
def serve(folder: Path, *modules: str) -> Iterator[Commands]:
    """Start the server; `folder` receives the outputs, and must not be one that a command is watched in.

    Modules of this folder that are named are imported, too.
    """
    # More threads than one would not live on in a child.
    alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__, *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | alone,
    )
    try:
        yield Commands(server, folder)
    finally:
        server.kill()
        server.communicate()


def _child(argv: list[str], cwd: str, out: str, err: str, patience: int) -> int:
    """Become the command: nothing of the server's is left but what it has imported."""
    # The default action: no handler could run while a call blocks, and the command could catch what it raises.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(patience)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from iclprobe.cli import main

    try:
        return main(argv)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _answer(line: str, answers: IO[str]) -> None:
    asked = json.loads(line)
    if "wait" in asked:
        answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
    else:
        answer = os.fork()
        if answer == 0:
            code = 1
            try:
                code = _child(**asked)
            finally:
                os._exit(code)
    print(answer, file=answers, flush=True)


def _serve() -> None:
    for name in (*MODULES, *sys.argv[1:]):
        importlib.import_module(name)
    from iclprobe import analyses

    for module in pkgutil.walk_packages(analyses.__path__, f"{analyses.__name__}."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        _answer(line, sys.stdout)


if __name__ == "__main__":
    _serve()
