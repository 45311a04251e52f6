"""Saying what shall be run loads nothing that runs it: configurations import neither torch nor transformers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import iclprobe

ROOT = Path(iclprobe.__file__).parent
HEAVY = {"numpy", "torch", "transformers", "pandas", "matplotlib", "safetensors", "huggingface_hub"}

# Their configurations have no default for these.
REQUIRED = {
    "ArmsConfig": {"arms": "shen"},
    "ReproductionConfig": {
        "paper": "shen2024",
        "name": "fig2",
    },
}


def configurations() -> dict[str, str]:
    """Return the module of every class in the analyses that is called a configuration, by the class's name."""
    return {
        node.name: ".".join(["iclprobe", *path.relative_to(ROOT).with_suffix("").parts])
        for path in sorted((ROOT / "analyses").rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
    }


CONFIGURATIONS = configurations()


def loaded_by(*lines: str) -> set[str]:
    """Return which of the heavy packages a fresh process has loaded behind these lines."""
    script = "\n".join(["import sys", *lines, f"print(*sorted({HEAVY!r} & set(sys.modules)))"])
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_every_configuration_is_made_without_what_runs_it():
    names = sorted(CONFIGURATIONS)
    assert {"CompareConfig", "ControlsConfig", "DriftConfig", "OrderConfig"} <= set(names)
    lines = [f"from {CONFIGURATIONS[name]} import {name}" for name in names]
    made = [f"{name}(**{REQUIRED.get(name, {})!r})" for name in names]
    assert loaded_by(*lines, *made) == set()


def test_a_recipe_and_a_plan_are_made_without_what_runs_them(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("preset: shen\nepochs: 3\n", encoding="utf-8")
    assert (
        loaded_by(
            "import iclprobe",
            f"assert iclprobe.load_recipe({str(recipe)!r}).epochs == 3",
            "assert iclprobe.CapturePlan(layers='0:2').layers == slice(0, 2)",
        )
        == set()
    )


@pytest.mark.parametrize("name", sorted(set(CONFIGURATIONS) & set(iclprobe.__all__)))
def test_a_public_name_of_a_configuration_loads_no_more_than_it(name: str):
    assert loaded_by(f"from iclprobe import {name}") == set()


def test_options_of_measures_are_named_without_torch_and_measures_come_with_it():
    assert loaded_by("from iclprobe.probes import THRESHOLDS, Agreement") == set()
    assert loaded_by("from iclprobe.probes import sim_aou") == {"numpy", "torch"}
