"""`make mutate`: prints the changes that no test notices, and exits with 1 if one is not in `equivalent.toml`."""

from __future__ import annotations

import argparse
import gc
import importlib
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType

import pytest

import iclprobe

from .accepted import LIST, Key, accepted, as_entry, key_of
from .covering import Covering, Failures, covering
from .forks import functions_of, in_fork, passes_fresh, passes_swapped
from .mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
# The same folder under the name by which Python finds the package, which is what code objects carry.
PACKAGE = Path(iclprobe.__file__).parent
# Plugins of pytest that only cost time here.
_UNUSED = ("cacheprovider", "terminal", "faulthandler", "xdist")
# So many tests, the fastest, must pass in a fork in which nothing is changed.
_OF_NO_CHANGE = 40


class Mutation:
    """A pytest plugin that runs the collected tests on one change of the source after another."""

    def __init__(
        self, files: list[Path], options: list[str], *, tests: Path | None, sample: int | None, seed: int
    ) -> None:
        self.files, self.options, self.tests, self.sample, self.seed = files, options, tests, sample, seed
        self.counts = {"mutants": 0, "noticed": 0, "equivalent": 0, "survivors": 0}
        self.complaint: str | None = None
        self.failures = Failures()
        self.items: dict[str, pytest.Item] = {}
        self.measured = Covering({})
        self.functions: dict[Path, list[FunctionType]] = {}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Watch the outcome of every test."""
        session.config.pluginmanager.register(self.failures)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure the unchanged tests, then try every change."""
        self.items = {item.nodeid: item for item in session.items}
        measured = in_fork(lambda: covering(session.items, map(str, self.files), self.failures), 3600)
        if measured is None or measured.failed:
            failed = "the run died" if measured is None else ", ".join(measured.failed[:5])
            self.complaint = f"tests must pass before anything is changed: {failed}"
            return True
        self.measured = measured
        # Imported once, here, rather than in every fork.
        _import_all(name for name in measured.modules if not name.startswith("iclprobe"))
        _import_all(map(_module, self.files))
        self.functions = {file: functions_of(str(file)) for file in self.files}
        gc.freeze()
        self.complaint = self._noticed_without_a_change()
        if self.complaint is None:
            self._try_all()
        return True

    def _noticed_without_a_change(self) -> str | None:
        """Make sure that what is noticed is the change, and not the fork or the import anew."""
        for file in {_tests(file): file for file in self.files}.values():
            source = file.read_text(encoding="utf-8")
            everything = (1, source.count("\n") + 1)
            unchanged = Mutant(
                everything, "", "", True, compile(source, str(file), "exec", dont_inherit=True)
            )
            if not self._survives(file, unchanged, self._tests_of(file, unchanged)[:_OF_NO_CHANGE]):
                return f"tests of {file.relative_to(PACKAGE)} fail in a fork without any change"
        return None

    def _try_all(self) -> None:
        known, found = accepted(), set[Key]()
        survivors = defaultdict[tuple[str, int, str], list[Mutant]](list)
        for file, mutant in self._chosen():
            name = file.relative_to(PACKAGE).as_posix()
            self.counts["mutants"] += 1
            if (key := key_of(name, mutant)) in known:
                self.counts["equivalent"] += 1
                found.add(key)
            elif self._survives(file, mutant, self._tests_of(file, mutant)):
                self.counts["survivors"] += 1
                survivors[name, mutant.lines[0], mutant.line].append(mutant)
                place = f"{name}:{mutant.lines[0]}"
                print(f"# {place}  {mutant.line}\n#     {mutant.change}", file=sys.stderr, flush=True)
            else:
                self.counts["noticed"] += 1
        for (name, _, _), of_line in sorted(survivors.items()):
            print(as_entry(name, of_line))
        names = {file.relative_to(PACKAGE).as_posix() for file in self.files}
        gone = sorted(key for key in known - found if key[0] in names)
        if gone and self.sample is None:
            self.complaint = f"{LIST.name} accepts what is no longer there: " + "; ".join(map(str, gone))

    def _chosen(self) -> Iterator[tuple[Path, Mutant]]:
        everything = (
            (file, mutant)
            for file in self.files
            for mutant in mutants(file.read_text(encoding="utf-8"), str(file))
        )
        if self.sample is None:
            yield from everything
        else:
            population = list(everything)
            yield from random.Random(self.seed).sample(population, min(self.sample, len(population)))

    def _tests_of(self, file: Path, mutant: Mutant) -> list[str]:
        asked = (self.tests or _tests(file)).resolve().relative_to(ROOT).as_posix()
        return self.measured.of(str(file), mutant.lines if mutant.in_function else None, asked)

    def _survives(self, file: Path, mutant: Mutant, tests: list[str]) -> bool:
        if not tests:
            return True
        seconds = 20 + int(5 * sum(self.measured.seconds[test] for test in tests))
        if mutant.in_function:
            items, functions = [self.items[test] for test in tests], self.functions[file]
            if not in_fork(lambda: passes_swapped(functions, mutant.code, items, self.failures), seconds):
                return False
        # What the tests' modules computed when they were collected, they computed with the unchanged source.
        return bool(in_fork(lambda: passes_fresh(str(file), mutant.code, tests, self.options), seconds))


def main() -> int:
    """Try the changes of the files on the command line."""
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="files and folders of the package")
    parser.add_argument("--tests", type=Path, help="file or folder of tests; the package's own if not given")
    parser.add_argument("--sample", type=int, help="try so many changes, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    arguments = parser.parse_args()
    files = [PACKAGE / file.resolve().relative_to(ROOT) for path in arguments.paths for file in _files(path)]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        options = [f"--rootdir={ROOT}", f"--basetemp={temporary}/tests", "-m", "not slow and not real", "-s"]
        options += ["-o", "addopts=--import-mode=importlib"]
        options += [word for plugin in _UNUSED for word in ("-p", f"no:{plugin}")]
        chosen = {name: getattr(arguments, name) for name in ("tests", "sample", "seed")}
        run = Mutation(files, options, **chosen)
        folders = [str(arguments.tests or folder) for folder in sorted({_tests(file) for file in files})]
        status = pytest.main([*options, *folders], plugins=[run])
    complaint = run.complaint or (None if status == pytest.ExitCode.OK else f"pytest ended with {status!r}")
    if complaint:
        print(complaint)
    counts = ", ".join(f"{count} {name}" for name, count in run.counts.items())
    print(f"# {counts} in {time.perf_counter() - start:.0f} s")
    return 1 if complaint or run.counts["survivors"] else 0


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _tests(file: Path) -> Path:
    """Return the folder of the tests of a file's package."""
    return ROOT / "tests" / file.parent.relative_to(PACKAGE)


def _module(file: Path) -> str:
    return ".".join(("iclprobe", *file.relative_to(PACKAGE).with_suffix("").parts))


def _import_all(names: Iterable[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # A name that somebody put among the modules need not be importable.
            continue


if __name__ == "__main__":
    sys.exit(main())
