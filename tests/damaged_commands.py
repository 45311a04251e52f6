"""Commands on damaged models: how each is called, and what it may end in."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from damaged_models import WRITERS, Damage, file_damages
from damaged_settings import retyped_settings, setting_damages
from tiny_checkpoint import TEMPLATE, write_records

from iclprobe.cli import main

LONGEST = 300
PATIENCE = 10
"""Seconds after which a command hangs; whole models take a tenth of one."""

DOORS = ("prompt", "gradients", "sparsity")
OTHER_COMMANDS = ("check", "drift", "compare", "controls", "order", "outputs")
QUICK = ("check", "drift")
COMMANDS = (*DOORS, *OTHER_COMMANDS)
BY_OTHER_OPTIONS = ("construction", "reproduce")
"""Commands that have a model of their own, and take another."""


@dataclass(frozen=True)
class Answer:
    """What a command ended in."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Whole:
    """The undamaged models, and what every command says of them."""

    folder: Path

    def model(self, name: str) -> Path:
        return self.folder / "whole" / name

    @cache  # noqa: B019  (one for the whole session)
    def said(self, command: str, model: str) -> str:
        folder = self.model(model)
        answer = run(arguments(command, folder, self))
        assert answer.code == 0, answer.err
        return nameless(answer.out, folder)

    @contextmanager
    def damaged(self, damage: Damage) -> Iterator[Path]:
        place = Path(mkdtemp(prefix="d", dir=self.folder))
        try:
            folder = place / damage.model
            shutil.copytree(self.model(damage.model), folder)
            damage.do(folder)
            yield folder
        finally:
            shutil.rmtree(place)


def write_whole(folder: Path) -> Whole:
    for name, write in WRITERS.items():
        write(folder / "whole" / name)
    write_records(folder / "records", train=4, validation=2)
    return Whole(folder)


def arguments(command: str, model: Path, whole: Whole) -> list[str]:
    on_task = ["--model", str(model), "--data", str(whole.folder / "records"), "--template", TEMPLATE]
    on_task += ["--label-words", "bad,good", "--shots", "2"]
    out = ["--out", str(whole.folder / "out"), "--overwrite"]
    fast = [*on_task, "--seeds", "0", "--limit", "2", "--lr", "0.01"]
    of_a_model = ["--set", f"model={model}", "--set", "revision=null"]
    return {
        "prompt": ["prompt", *on_task, "--json"],
        "gradients": ["gradients", *on_task, "--recipe", "dai", "--lr", "0.01", "--json"],
        "sparsity": ["sparsity", str(model), "--json"],
        "check": ["check", str(model)],
        "drift": ["drift", str(whole.model(model.name)), str(model), "--json"],
        "compare": ["compare", *fast, *out],
        "controls": ["controls", *fast, "--controls", "none", *out],
        "order": ["order", *fast, "--orders", "2", "--arms", "dai", "--epochs", "1", *out],
        "outputs": ["outputs", *fast, "--arms", "dai", "--epochs", "1", *out],
        "construction": ["construction", "--model", str(model), "--steps", "1", "--batch-size", "2", *out],
        "reproduce": ["reproduce", "shen2024", "fig2", *of_a_model, *out],
    }[command]


def run(argv: list[str]) -> Answer:
    """Run a command in this process, but no longer than patience lasts."""

    def give_up(*_: object) -> None:
        # No Exception: everything that catches those would catch this one too.
        raise SystemExit(f"iclprobe {' '.join(argv)} hangs")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(argv)
    except SystemExit as hang:
        pytest.fail(str(hang))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Answer(code, out.getvalue(), err.getvalue())


def nameless(text: str, folder: Path) -> str:
    """Call a model, whole or damaged, the same wherever it lies; a study is its tables, without when it was made."""
    if text.startswith('{\n  "analysis"'):
        study = json.loads(text)
        text = json.dumps({name: part for name, part in study.items() if name != "provenance"})
    return re.sub(rf"{re.escape(str(folder.parent.parent))}/\w+/{folder.name}\b", "MODEL", text)


def files_in(folder: Path) -> set[tuple[str, int]]:
    """Names and sizes of what lies in a folder, but for where results go."""
    return {
        (str(path), path.lstat().st_size)
        for path in folder.rglob("*")
        if not path.is_relative_to(folder / "out") and not path.name.startswith("out")
    }


def require_sentence(answer: Answer, damage: Damage, folder: Path) -> None:
    lines = [line for line in answer.err.split("\n") if line.startswith("iclprobe: ")]
    assert len(lines) == 1, answer.err
    sentence = nameless(lines[0].removeprefix("iclprobe: "), folder)
    assert sentence.isprintable()
    assert len(sentence) <= LONGEST, sentence
    assert not re.search(r"Traceback|weights_only|Repo id must|object at 0x", answer.err), answer.err
    assert answer.out == ""


def require_sound(answer: Answer, whole: str, damage: Damage, folder: Path) -> None:
    """Require one sentence, the numbers of the whole model, or a reason for others."""
    # A self-check that fails is told line by line, with a code of its own.
    if answer.code == 1 and re.match("family ", answer.out) and "\nFAILED" in answer.out:
        return
    assert answer.code in (0, 2), answer
    if answer.code == 2:
        require_sentence(answer, damage, folder)
    elif not damage.another:
        assert nameless(answer.out, folder) == whole, f"{damage.name} changes numbers and is not refused"


@cache
def all_damages() -> list[Damage]:
    place = Path(mkdtemp())
    try:
        retyped = [
            damage
            for name, write in WRITERS.items()
            for damage in retyped_settings(name, write(place / name))
        ]
    finally:
        shutil.rmtree(place)
    return [*file_damages(), *setting_damages(), *retyped]
