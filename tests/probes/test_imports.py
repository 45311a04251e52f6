"""Probes stand on torch, einops and numpy alone, so that they work on activations from anywhere."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from iclprobe import probes

MODULES = sorted(Path(probes.__file__).parent.glob("*.py"))
ALLOWED = {"torch", "einops", "numpy"} | set(sys.stdlib_module_names)


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level if node.level else (node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_probe_imports_nothing_from_outside_but_torch_einops_and_numpy(path):
    outside = imported(ast.parse(path.read_text(encoding="utf-8"))) - ALLOWED - {"."}
    assert not outside, f"{path.name} imports {sorted(outside)}"


def test_the_walk_sees_every_form_of_import():
    tree = ast.parse(
        "import pandas.core\ndef f():\n    from ..models import x\n    from einops import rearrange"
    )
    assert imported(tree) == {"pandas", "..", "einops"}


def test_the_package_exports_what_it_lists():
    assert len(MODULES) > 5
    assert all(hasattr(probes, name) for name in probes.__all__)
    assert len(set(probes.__all__)) == len(probes.__all__)


def test_no_name_is_also_that_of_a_module():
    """Else importing the module would put it where the name is."""
    assert not {path.stem for path in MODULES} & set(probes.__all__)


def test_names_load_from_where_they_are_defined():
    for name in probes.__all__:
        value = getattr(probes, name)
        if isinstance(value, type) or callable(value):
            home = getattr(value, "__module__", "typing")
            assert home.startswith("iclprobe.probes.") or home == "typing", name
    with pytest.raises(AttributeError, match="no attribute 'sim_aoo'"):
        _ = probes.sim_aoo  # pyright: ignore[reportAttributeAccessIssue]
