"""The numbers of before one `Study` for all analyses, beside those of this tree: every one must be the same.

    git worktree add ../before 8036866 && make -C ../before install
    PYTHONPATH=tests .venv/bin/python -m golden --old ../before/.venv/bin/python [--real FOLDER] [NAME…]

Every analysis runs twice, by the old command and by the new one, on one thread and from no hub. Then every leaf of
the old ``results.json`` must have its place in the new study (`pairs` in the module of the analysis's name): floats
bit for bit. This is kept until the next release: after it nobody compares with what was before the change.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from golden.leaves import Counts, counted

from iclprobe import load_study

NAMES = (
    *("order", "outputs", "sparsity", "drift", "compare", "grid", "controls", "construction", "gradients"),
    "compare_real",
)
_MOST_TOLD = 5


def main() -> int:
    """Compare the analyses that are named, or all; return 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="golden", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; all by default")
    parser.add_argument("--old", required=True, metavar="PYTHON", help="the python of a worktree of before")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="a real model, for compare_real")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}: there are {', '.join(NAMES)}")
    if "compare_real" in asked.names and asked.real is None:
        parser.error("compare_real needs --real")
    names = asked.names or [name for name in NAMES if name != "compare_real" or asked.real is not None]
    wrong = 0
    for name in names:
        counts = _compared(name, str(Path(asked.old).absolute()), asked.real)
        print(f"{name}: {_sentence(counts)}", flush=True)
        wrong += len(counts.wrong)
    return 1 if wrong else 0


def _compared(name: str, python: str, real: Path | None) -> Counts:
    analysis = import_module(f"golden.{name}")
    with tempfile.TemporaryDirectory(prefix=f"golden-{name}-") as folder:
        for code, command, out in ((python, analysis.OLD, "old"), (sys.executable, analysis.NEW, "new")):
            failed = _failure(code, _with_model(command, real), Path(folder), out)
            if failed:
                return Counts(wrong=[f"the {out} command failed: {failed}"])
        old = json.loads((Path(folder) / "old" / "results.json").read_text(encoding="utf-8"))
        return counted(old, analysis.pairs(old, load_study(Path(folder) / "new")))


def _with_model(command: list[str], real: Path | None) -> list[str]:
    return [part.replace("{real}", "" if real is None else str(real.absolute())) for part in command]


def _failure(python: str, command: list[str], folder: Path, out: str) -> str:
    """Run a command, which writes into a folder; return how it ended where that was not well."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [python, "-m", "iclprobe", *command, "--out", out],
        cwd=folder,
        env={**kept, **threads, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1] if done.returncode else ""


def _sentence(counts: Counts) -> str:
    told = [f"{counts.numbers} numbers and {counts.others} other values are equal"]
    if counts.dropped:
        why = "; ".join(f"{number}: {reason}" for reason, number in counts.dropped.items())
        told.append(f"{sum(counts.dropped.values())} are dropped ({why})")
    if counts.wrong:
        more = len(counts.wrong) - _MOST_TOLD
        shown = [*counts.wrong[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]
        told.append(f"{len(counts.wrong)} DIFFER ({'; '.join(shown)})")
    return ", ".join(told)


if __name__ == "__main__":
    sys.exit(main())
