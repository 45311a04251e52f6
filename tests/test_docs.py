"""Every code block of the quickstart and the tutorials runs; those of other pages name what there is."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from shared_material import real_model, shared

import iclprobe
from iclprobe import probes
from iclprobe.cli.commands import iclprobe as command_line
from iclprobe.study.analysis import registered_analyses

ROOT = Path(iclprobe.__file__).parent
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
_BLOCK = re.compile(r"^```(\w+)?(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return the language, the file's name and the text of every block of code."""
    return [
        (found[1] or "", found[2] or "", found[3])
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def run_page(
    page: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str] | None = None,
    *,
    commands: bool = True,
) -> dict[str, Any]:
    """Run all blocks of a page in order, in one session that begins in an empty folder; return what it made.

    Args:
        page: The page, below the repository's root.
        folder: Where it runs.
        monkeypatch: Goes there and back.
        changes: What stands in the page, and what stands in its place here.
        commands: Whether commands run, too.
    """
    import matplotlib

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # `iclprobe` and `python` are those that run this test.
    shims = folder / ".shims"
    shims.mkdir()
    for name, command in (("iclprobe", "-m iclprobe"), ("python", "")):
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        shim.chmod(0o755)
    surroundings = {**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"}
    # A module that can be found, as classes look for their own.
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    changes = changes or {}
    written = (ROOT / page).read_text(encoding="utf-8")
    assert all(old in written for old in changes), f"{page} no longer says {list(changes)}"
    with matplotlib.rc_context({"backend": "agg"}):
        for number, (language, title, text) in enumerate(blocks(ROOT / page)):
            for old, new in changes.items():
                text = text.replace(old, new)
            if title:
                (folder / title).write_text(text, encoding="utf-8")
            elif language == "python":
                exec(compile(text, f"{page}, block {number}", "exec", dont_inherit=True), vars(module))
            elif language == "sh" and commands:
                done = subprocess.run(
                    ["sh", "-e", "-c", text], env=surroundings, capture_output=True, text=True, timeout=300
                )
                assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return vars(module)


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = run_page("docs/quickstart.md", tmp_path, monkeypatch)
    assert session["comparison"]["SimAOU"] == pytest.approx(0.27, abs=0.1)
    assert {"layer_profile.png", "heads.png", "map.png"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_tutorial_on_checkpoints_runs_and_says_when_the_model_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = run_page("docs/tutorials/checkpoints.md", tmp_path, monkeypatch)
    means = session["accuracy"].groupby("checkpoint")["icl"].mean()
    assert means["724"] < 0.5 < means["1024"], "the page names these two steps"
    early = iclprobe.load_study(tmp_path / "runs" / "step128").findings
    assert any(finding.kind == "alarm" and "not better than zero-shot" in finding.name for finding in early)
    icl = session["icl"].set_index("control")["mean"]
    assert icl["permuted_labels"] < icl["none"] - 20


@pytest.mark.slow
def test_the_tutorial_on_an_analysis_of_ones_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclprobe.study import analysis

    monkeypatch.setattr(analysis, "_REGISTERED", dict(registered_analyses()))
    session = run_page("docs/tutorials/layer-wise.md", tmp_path, monkeypatch)
    by_hand = session["moved"](session["zero_shot"].residual, session["in_context"].residual)
    rows = session["study"].to_pandas()
    assert rows[rows["seed"] == 0]["moved"].to_numpy() == pytest.approx(by_hand.flatten().numpy(), rel=1e-5)
    assert (tmp_path / "moved.png").is_file() and (tmp_path / "runs" / "moved-4" / "table.txt").is_file()
    sys.modules.pop("moved", None)


@pytest.mark.real
@pytest.mark.slow
def test_the_tutorial_on_a_real_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder of the hub id's name stands for the hub: the page's text runs as it is.
    (tmp_path / "HuggingFaceTB").mkdir()
    (tmp_path / "HuggingFaceTB" / "SmolLM2-135M-Instruct").symlink_to(real_model("smollm2-135m-instruct"))
    changes = {"DATA = None": f"DATA = {str(shared('data/sst2'))!r}"}
    session = run_page("docs/tutorials/real-model.md", tmp_path, monkeypatch, changes)
    found = session["found"]["value"]
    assert [found[f"accuracy, {setting}"] for setting in ("zero-shot", "ICL")] == [50, 75], "the page says so"
    names = ("SimAOU", "SimAOU, null shared_baseline", "SimAOU partial")
    assert [found[name] for name in names] == pytest.approx([0.21, 0.23, 0.08], abs=0.02)
    best = session["heads"].iloc[0]
    assert best["labels"] > 10 * best["labels_even"], "a head that looks at labels comes first"
    moved = {finding.name: finding for finding in session["looked"].findings}["attention moved by finetuning"]
    assert [moved.value, moved.null] == pytest.approx([0.32, 0.26], abs=0.02), "the page says so"
    assert int(session["changes"]["label_head"].sum()) == 17
    assert {"heads.png", "map.png", "finetuned.png"} <= {file.name for file in tmp_path.iterdir()}


# Pages whose Python runs as it stands; their commands, and other pages, name models and files of the reader's.
HOW_TO = ("recipe", "layer-wise-script", "recorded-elsewhere", "probe")
RUN = ("README.md", *(f"docs/how-to/{name}.md" for name in HOW_TO))


@pytest.mark.parametrize("page", RUN)
def test_python_on_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(page, tmp_path, monkeypatch, commands=False)


@pytest.mark.slow
def test_the_page_on_attention_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = run_page(
        "docs/how-to/attention.md", tmp_path, monkeypatch, {"limit=100": "limit=20"}, commands=False
    )
    assert session["captured"].pattern.ndim == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_on_a_page_names_what_there_is(page: Path) -> None:
    for language, _, text in blocks(page):
        if language == "python":
            _check_python(text)
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                _check_command(line)


def test_every_page_stands_in_the_menu_and_every_public_name_in_the_reference(tmp_path: Path) -> None:
    from make_site import lay_out
    from yaml import safe_load

    lay_out(tmp_path / "pages")
    menu = str(safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = {str(page.relative_to(tmp_path / "pages")): page for page in (tmp_path / "pages").rglob("*.md")}
    assert [page for page in pages if f"'{page}'" not in menu] == []
    functions = "".join(
        pages[page].read_text(encoding="utf-8") for page in pages if page.startswith("reference/")
    )
    for name in iclprobe.__all__:
        told = f"\n## {name}\n" if name.endswith("Config") else f"::: iclprobe.{name}\n"
        assert told in functions, name
    for name in probes.__all__:
        assert f"::: iclprobe.probes.{name}\n" in functions, name
    for analysis in registered_analyses().values():
        assert all(f"{{ #{analysis.name}-{table.name} }}" in functions for table in analysis.tables)
        columns = {column.name for table in analysis.tables for column in table.columns}
        assert all(f"| `{column}` |" in functions for column in columns)
        assert all(f"| `{field}` |" in functions for field in analysis.config.model_fields)


PUBLIC = {
    **{f"iclprobe.{name}": getattr(iclprobe, name) for name in iclprobe.__all__},
    **{f"iclprobe.probes.{name}": getattr(probes, name) for name in probes.__all__},
}


@pytest.mark.parametrize("name", [name for name, found in PUBLIC.items() if inspect.isfunction(found)])
def test_a_public_function_that_refuses_something_says_so(name: str) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(PUBLIC[name])))
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    checks = any(
        isinstance(node, ast.Call) and ast.unparse(node.func).lstrip("_").startswith("require")
        for node in ast.walk(tree)
    )
    told = inspect.getdoc(PUBLIC[name]) or ""
    assert not (raises or checks) or "Raises:" in told or "errors are those" in told


def test_a_page_with_a_picture_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import make_site

    monkeypatch.setattr(
        make_site, "reference_pages", lambda: {"reference/made.md": "![lost](../gallery/lost.png)"}
    )
    with pytest.raises(FileNotFoundError, match=r"reference/made\.md"):
        make_site.lay_out(tmp_path / "pages")


def test_a_formula_becomes_mathml_and_a_link_leads_into_the_site() -> None:
    from make_site import site_text

    made = site_text("```math\na \\qquad b\n```\n[c](../CONTRIBUTING.md) ![d](../../reports/gallery/e.png)")
    assert made.count("<math ") == 2 and "```" not in made
    assert made.endswith("[c](CONTRIBUTING.md) ![d](../gallery/e.png)")
    assert site_text("[a](docs/captures.md)", beside=True) == "[a](captures.md)"


def _check_python(text: str) -> None:
    """Parse a block, and find every name that it takes from the package."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "iclprobe"
        ):
            assert hasattr(iclprobe, node.attr), f"there is no iclprobe.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "iclprobe":
            for name in node.names:
                assert hasattr(import_module(str(node.module)), name.name), ast.unparse(node)
        elif isinstance(node, ast.Call) and _config_of(node.func) is not None:
            fields = _config_of(node.func)
            for keyword in node.keywords:
                assert fields is None or keyword.arg is None or keyword.arg in fields, ast.unparse(node)


def _config_of(function: ast.expr) -> set[str] | None:
    """Return what an analysis takes by name, where a call is of one."""
    known = registered_analyses()
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return None
    if function.value.id != "iclprobe" or function.attr not in known:
        return None
    fields = set(known[function.attr].config.model_fields)
    return fields | {"config", "out", "overwrite", "say", "recipe", "paper", "name", "scale"}


def _check_command(line: str) -> None:
    """Find the command and every option of a line that calls ``iclprobe``."""
    words = shlex.split(line, comments=True)
    if not words or words[0] != "iclprobe":
        return
    context = click.Context(command_line, info_name="iclprobe")
    command = command_line.get_command(context, words[1]) if len(words) > 1 else command_line
    assert command is not None, f"there is no command {words[1]!r}: {line}"
    known = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
    for word in words[2:]:
        if word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            assert word.split("=")[0] in known | {"--help", "-h"}, (
                f"{word} is no option of iclprobe {words[1]}"
            )
