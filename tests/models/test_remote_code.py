"""Code of a checkpoint runs when it is asked for, and otherwise not, whatever stands on standard input."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM
from weight_tables import averaged

import iclprobe
from iclprobe import UserError
from iclprobe.cli import main
from iclprobe.models.loading import load_model

_CODE = """
open({ran!r}, "a").write({name!r})
{body}
"""
_TOKENIZER = (
    "from transformers import PreTrainedTokenizerFast\nclass Made{mark}(PreTrainedTokenizerFast): pass"
)
_CONFIG = (
    "from transformers import LlamaConfig\nclass Config{mark}(LlamaConfig):\n    model_type = 'made{mark}'"
)
_MODEL = (
    "from transformers import LlamaForCausalLM\n"
    "from .made_config{mark} import Config{mark}\n"
    "class Model{mark}(LlamaForCausalLM):\n    config_class = Config{mark}"
)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_code(folder: Path, name: str, body: str, mark: str) -> None:
    code = _CODE.format(ran=str(folder / "RAN"), name=f"{name} ", body=body.format(mark=mark))
    (folder / f"made_{name}{mark}.py").write_text(code)


def with_own_tokenizer(folder: Path, mark: str) -> None:
    write_code(folder, "tokenizer", _TOKENIZER, mark)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class=f"Made{mark}",
        auto_map={"AutoTokenizer": [None, f"made_tokenizer{mark}.Made{mark}"]},
    )


def with_own_model(folder: Path, mark: str) -> None:
    write_code(folder, "config", _CONFIG, mark)
    write_code(folder, "model", _MODEL, mark)
    edit(
        folder / "config.json",
        model_type=f"made{mark}",
        auto_map={
            "AutoConfig": f"made_config{mark}.Config{mark}",
            "AutoModelForCausalLM": f"made_model{mark}.Model{mark}",
        },
    )


KINDS: dict[str, Callable[[Path, str], None]] = {"tokenizer": with_own_tokenizer, "model": with_own_model}


@pytest.fixture(params=KINDS)
def coded(
    request: pytest.FixtureRequest, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A checkpoint with code of its own, and somebody who says yes to every question."""
    folder = tmp_path / "coded"
    shutil.copytree(checkpoint, folder)
    # Classes stay known to transformers for the whole process: every test has its own.
    mark = f"{request.param.title()}{abs(hash(request.node.name)) % 10**8}"
    KINDS[request.param](folder, mark)
    if request.param == "model":
        iclprobe.register_family(iclprobe.Family(f"made{mark}"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    return folder


def ran(folder: Path) -> bool:
    return (folder / "RAN").exists()


def test_code_that_was_not_asked_for_does_not_run(coded: Path) -> None:
    with pytest.raises(
        UserError, match=r"comes with code of its own.*trust_remote_code=True \(--trust-remote-code\)$"
    ):
        load_model(coded)
    assert not ran(coded)


def test_code_that_was_asked_for_runs(coded: Path, checkpoint: Path) -> None:
    model = load_model(coded, trust_remote_code=True)
    assert ran(coded)
    kinds = type(model.module).__name__, type(model.require_tokenizer()).__name__
    assert any(name.startswith(("Made", "Model")) for name in kinds)
    plain = load_model(checkpoint)
    ids = torch.tensor([[1, 5, 6]])
    assert isinstance(model.module, LlamaForCausalLM)
    assert torch.equal(model.module(ids).logits, plain.module(ids).logits)
    assert iclprobe.capture(model, ["the cake"]).attention_output is not None


@pytest.mark.parametrize("coded", ["tokenizer"], indirect=True)
def test_a_tokenizer_that_was_given_is_no_exception(coded: Path, checkpoint: Path) -> None:
    for model in (checkpoint, load_model(checkpoint), load_model(checkpoint).module):
        with pytest.raises(UserError, match=r"tokenizer .*coded' comes with code of its own"):
            load_model(model, tokenizer=coded)
        assert not ran(coded)
    loaded = load_model(checkpoint, tokenizer=coded, trust_remote_code=True)
    assert ran(coded) and type(loaded.tokenizer).__name__.startswith("Made")


def test_reading_weights_runs_no_code(coded: Path, checkpoint: Path) -> None:
    name = json.loads((coded / "config.json").read_text())["model_type"]
    found = averaged(iclprobe.sparsity(str(coded), family=name), "value")
    assert not ran(coded)
    assert torch.equal(found, averaged(iclprobe.sparsity(str(checkpoint)), "value"))


TASK = ("--task", "tone", "--template", "Sentence: {text} Label:", "--shots", "2", "--device", "cpu")
LABELS = ("--label-words", "bad,good", "--limit", "2", "--lr", "0.1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "{coded}", "--device", "cpu"),
    "compare": ("compare", "--model", "{coded}", *TASK, *LABELS),
    "controls": ("controls", "--model", "{coded}", *TASK, *LABELS, "--controls", "none"),
    "order": (
        "order",
        "--model",
        "{coded}",
        *TASK,
        *LABELS,
        "--orders",
        "2",
        "--seeds",
        "0",
        "--arms",
        "shen",
    ),
    "outputs": (
        "outputs",
        "--model",
        "{coded}",
        *TASK,
        *LABELS,
        "--seeds",
        "0",
        "--arms",
        "shen",
        "--epochs",
        "1",
    ),
    "gradients": (
        *("gradients", "--model", "{coded}", *TASK),
        *("--label-words", "bad,good", "--lr", "0.1", "--recipe", "dai"),
    ),
    "drift": (
        "drift",
        "{coded}",
        "{coded}",
        "--icl",
        "pocket-tone",
        "--shots",
        "1",
        "--limit",
        "2",
        "--seeds",
        "0",
    ),
    "finetuned": ("compare", "--model", "{other}", "--finetuned", "{coded}", *TASK, *LABELS),
}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("coded", ["model"], indirect=True)
def test_every_command_that_loads_a_model_passes_it_on(
    name: str, trust: bool, coded: Path, checkpoint: Path, records: Path, tmp_path: Path, capsys: Any
) -> None:
    command = [word.format(coded=coded, other=checkpoint, text="{text}") for word in COMMANDS[name]]
    if name not in ("check", "drift"):
        command += ["--data", str(records)]
    if name != "check":
        command += ["--out", str(tmp_path / "run")]
    if name == "drift":
        family = json.loads((coded / "config.json").read_text())["model_type"]
        command += ["--family", family, "--tokenizer", str(checkpoint)]
    code = main([*command, *(["--trust-remote-code"] if trust else [])])
    said = capsys.readouterr().err
    assert ran(coded) is trust
    assert ("give trust_remote_code=True (--trust-remote-code)" in said) is not trust
    if name == "finetuned" and trust:
        assert code == 2 and "has the same weights" in said
    elif name != "drift":
        # It takes no label words, and those of the tasks are no words of this tokenizer.
        assert code == (0 if trust else 2), said
