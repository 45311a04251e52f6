"""What SECURITY.md promises, where no other test holds it; and that every test it names is there."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import iclprobe
from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.models.tensor_files import open_tensors

ROOT = Path(iclprobe.__file__).resolve().parent
SCRIPT = "<script>alert(1)</script>"
TASK = (
    "--task",
    "tone",
    "--template",
    "Sentence: {text} Label:",
    "--label-words",
    "bad,good",
    "--shots",
    "2",
)


def product() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0]
        if room not in ("tests", "benchmarks", "build", "dist") and not room.startswith("."):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def safe_loaders(tree: ast.AST) -> set[str]:
    """Return what a module calls YAML's safe loader, or its own kind of it."""
    made = {node.name: node.bases for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return {"yaml.SafeLoader"} | {
        name for name, bases in made.items() if "yaml.SafeLoader" in map(ast.unparse, bases)
    }


def test_nothing_in_the_package_unpickles_more_than_weights() -> None:
    loads, other = [], []
    for path, tree in product():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [name.name for name in node.names]
                found = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & set(names)
                other += [f"{path}:{node.lineno} imports {name}" for name in found]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if called == "torch.load":
                    loads.append(arguments.get("weights_only"))
                if "read_pickle" in called or called in ("eval", "exec") or "allow_pickle" in arguments:
                    other.append(f"{path}:{node.lineno} calls {called}")
                if called.startswith("yaml.") and called.endswith(("load", "load_all")):
                    by = [
                        ast.unparse(word)
                        for word in (*node.args[1:], *(word.value for word in node.keywords))
                    ]
                    safe = "safe" in called or {*by} & safe_loaders(tree)
                    other += [] if safe else [f"{path}:{node.lineno} calls {called}"]
    assert loads and set(loads) == {"True"}
    assert other == []


class _Trap:
    """What an attacker would pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.mark),)


COMMANDS: dict[str, tuple[str, ...]] = {
    "sparsity": ("sparsity", "{evil}"),
    "sparsity of a file": ("sparsity", "{evil}/pytorch_model.bin"),
    "drift": ("drift", "{good}", "{evil}"),
    "check": ("check", "{evil}", "--device", "cpu"),
    "compare": ("compare", "--model", "{evil}", *TASK),
    "controls": ("controls", "--model", "{evil}", *TASK),
    "order": ("order", "--model", "{evil}", *TASK),
    "outputs": ("outputs", "--model", "{evil}", *TASK),
    "gradients": ("gradients", "--model", "{evil}", *TASK),
    "transfer": ("transfer", "--model", "{evil}", *TASK),
    "finetuned": ("compare", "--model", "{good}", "--finetuned", "{evil}", *TASK),
    "adapter": ("compare", "--model", "{good}", "--adapter", "{adapter}", *TASK),
    "finetuned adapter": ("compare", "--model", "{good}", "--finetuned", "{adapter}", *TASK),
    "reproduce": ("reproduce", "shen2024", "fig2", "--set", "model={evil}", "--set", "revision=null"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hostile_pickle_does_not_run_in_any_command_that_reads_one(
    name: str, checkpoint: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, evil, adapter = tmp_path / "was_run", tmp_path / "evil", tmp_path / "adapter"
    shutil.copytree(checkpoint, evil)
    tensors: dict[str, Any] = load_file(evil / "model.safetensors")
    (evil / "model.safetensors").unlink()
    torch.save({**tensors, "trap": _Trap(mark)}, evil / "pytorch_model.bin")
    adapter.mkdir()
    kind = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps({**kind, "base_model_name_or_path": "x"}))
    torch.save({"trap": _Trap(mark)}, adapter / "adapter_model.bin")
    command = [
        word.format(evil=evil, good=checkpoint, adapter=adapter, text="{text}") for word in COMMANDS[name]
    ]
    data = ["--data", str(records)] if TASK[0] in command else []
    out = [] if command[0] == "check" else ["--out", str(tmp_path / "run")]
    assert main([*command, *data, *out]) == 2
    assert not mark.exists() and not (tmp_path / "run").exists()
    said = capsys.readouterr().err
    assert "_model.bin" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "outside", ["../secret/model.safetensors", "/{absolute}", "a/../../secret/x", "..\\x"]
)
@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_an_index_leads_to_no_file_outside_of_the_checkpoint(
    outside: str, ending: str, checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "secret")
    named = outside.replace("/{absolute}", str(tmp_path / "secret" / "model.safetensors"))
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(checkpoint / "config.json", folder)
    index = folder / f"{'model' if ending == '.safetensors' else 'pytorch_model'}{ending}.index.json"
    names = list(load_file(checkpoint / "model.safetensors"))
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, named)}))
    for place in (folder, index):
        with pytest.raises(UserError, match=r"lies outside the checkpoint, and was not read"):
            open_tensors(place)
    (folder / "config.json").write_text(
        json.dumps({**json.loads((checkpoint / "config.json").read_text()), "transformers_weights": named})
    )
    index.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        open_tensors(folder)


def settings(checkpoint: Path, records: Path) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "task": "../../up",
        "template": "Sentence: {text} Label:",
        "label_words": ("bad", "good"),
        "data": str(records),
        "shots": 2,
        "limit": 4,
        "learning_rate": 0.1,
        "null_draws": 2,
        "resamples": 20,
        "device": "cpu",
    }


def test_hostile_names_are_written_nowhere_but_in_the_output_directory(
    checkpoint: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "a" / "b" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    recipe = {"preset": "dai", "name": "../../../escaped"}
    iclprobe.compare(**settings(checkpoint, records), recipes=(recipe,), out=work / "out", save_captures=True)
    arguments = ["compare", "--model", str(checkpoint), "--device", "cpu", *TASK[2:], "--task", "../../up"]
    arguments += ["--data", str(records), "--lr", "0.1", "--limit", "4"]
    assert main(arguments) == 0
    assert {path.name for path in work.iterdir()} == {"out", "runs"}
    assert len(list((work / "runs").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["work"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert all(name == "style" or name == "class" for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_a_notebook_shows_holds_no_markup_of_the_users_texts(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    model = tmp_path / "<b>model<img src=x onerror=alert(1)>"
    shutil.copytree(checkpoint, model)
    hostile = {**settings(model, records), "task": SCRIPT, "label_words": (f"bad {SCRIPT}", f"good{SCRIPT}")}
    hostile["template"] = f"Sentence: {{text}} {SCRIPT} Label:"
    recipe = {"preset": "dai", "name": "<i>recipe"}
    shown = [
        iclprobe.compare(**hostile, recipe=recipe),
        iclprobe.compare(**{**hostile, "shots": (1, 2)}, recipes=(recipe,)),
        iclprobe.controls(**hostile, recipe=recipe, controls=("none",)),
    ]
    for result in shown:
        parser = _Tags()
        parser.feed(result._repr_html_())
        assert not parser.tags & {"script", "img", "b", "i"}
        assert SCRIPT in parser.text and "<i>recipe" in parser.text


def test_nothing_else_makes_pages() -> None:
    pages = {
        path.relative_to(ROOT).as_posix()
        for path, tree in product()
        for node in ast.walk(tree)
        if (isinstance(node, ast.FunctionDef) and "html" in node.name and node.name != "_repr_html_")
        or (isinstance(node, ast.Attribute) and node.attr == "to_html")
    }
    assert pages == {"reports/sheet_html.py", "reports/page/page.py"}


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
