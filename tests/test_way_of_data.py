"""Every import goes the way of the data, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import iclprobe

ROOT = Path(iclprobe.__file__).parent
ROOMS = ("tasks", "models", "hooks", "probes", "analyses", "study", "reports", "sweeps", "cli")
ALLOWED = {
    "": {""},
    "tasks": {"", "tasks"},
    "models": {"", "tasks", "models"},
    "hooks": {"", "tasks", "models", "hooks"},
    "probes": {"probes"},
    "study": {"", "tasks", "study", "reports"},
    "analyses": {"", "tasks", "models", "hooks", "probes", "study", "analyses"},
    "reports": {"", "probes", "study", "reports"},
    "sweeps": {"", "tasks", "models", "hooks", "probes", "study", "analyses", "reports", "sweeps"},
    "cli": {"", *ROOMS},
}
EXCEPTIONS = {
    # Only running the model tells whether a row that was read off its modules is true.
    ("models.loading", "hooks.derivation"),
}


def _modules() -> dict[str, Path]:
    files = [*ROOT.glob("*.py"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


MODULES = _modules()


def _for_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield every relative import, those inside functions too, but not those for typing alone."""
    for child in ast.iter_child_nodes(node):
        if _for_typing(child):
            continue
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        yield from _imports(child)


@cache
def imported_by(module: str) -> frozenset[str]:
    """Return the package's modules that a module imports."""
    file = MODULES[module]
    here = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    here = [part for part in here if part]
    found = set()
    for node in _imports(ast.parse(file.read_text(encoding="utf-8"))):
        base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
        for name in node.names:
            inner = ".".join([*base, name.name])
            found.add(inner if inner in MODULES else ".".join(base))
    return frozenset(found & set(MODULES) - {module, "__init__"})


def _room(module: str) -> str:
    first = module.split(".")[0]
    return first if first in ROOMS else ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_an_import_goes_the_way_of_the_data(module: str) -> None:
    if module in ("__init__", "__main__"):
        return
    wrong = {
        other
        for other in imported_by(module)
        if _room(other) not in ALLOWED[_room(module)] and (module, other) not in EXCEPTIONS
    }
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(imported_by(module)):
                if (module, other) not in EXCEPTIONS:
                    walk(other, (*path, module))
            done.add(module)

    for module in sorted(MODULES):
        walk(module, ())


def test_every_room_is_looked_at() -> None:
    assert len(MODULES) > 250 and {_room(module) for module in MODULES} == {"", *ROOMS}
    assert "study.columns" in imported_by("study.study") and "reports.sheet_text" in imported_by(
        "study.study"
    )
