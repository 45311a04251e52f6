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
from typing import IO

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
        code = self.start(argv, cwd, patience)
        out, err = ((self.folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr"))
        return Ended(code, out, err)

    def start(self, argv: list[str], cwd: Path, patience: int) -> int:
        """Run a command and return its exit code; its outputs are in the folder."""
        assert self.server.stdin is not None and self.server.stdout is not None
        places = {"out": str(self.folder / "stdout"), "err": str(self.folder / "stderr")}
        asked = {"argv": argv, "cwd": str(cwd), **places, "patience": patience}
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


@contextmanager
def serve(folder: Path) -> Iterator[Commands]:
    """Start the server; `folder` receives the outputs, and must not be one that a command is watched in."""
    # More threads than one would not live on in a child.
    alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__],
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
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _child(**json.loads(line))
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _serve() -> None:
    for name in MODULES:
        importlib.import_module(name)
    from iclprobe import analyses

    for module in pkgutil.walk_packages(analyses.__path__, f"{analyses.__name__}."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        _answer(line, sys.stdout)


if __name__ == "__main__":
    _serve()
