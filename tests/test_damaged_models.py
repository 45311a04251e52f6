"""A damaged model ends in one sentence or in the numbers of the whole one: no traceback, no hang, no other numbers.

Three commands stand for the three ways in which models are loaded: `prompt` reads settings and tokenizer, `gradients`
loads the model as every analysis does, and `sparsity` reads tensors without a model. They meet a third of the
damages, half of these every day. The other commands come in by the same doors; they meet an eighth, and those that
measure for seconds only where `gradients` was refused.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


WHOLE = pytest.fixture(scope="session", name="whole")(
    lambda tmp_path_factory: write_whole(tmp_path_factory.mktemp("m"))
)


def arguments(command: str, model: Path, whole: Whole) -> list[str]:
    on_task = ["--model", str(model), "--data", str(whole.folder / "records"), "--template", TEMPLATE]
    on_task += ["--label-words", "bad,good", "--shots", "2"]
    out = ["--out", str(whole.folder / "out"), "--overwrite"]
    fast = [*on_task, "--seeds", "0", "--limit", "2", "--lr", "0.01"]
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
    }[command]


def run(argv: list[str]) -> Answer:
    """Run a command in this process, but no longer than patience lasts."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

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
    """Call a model, whole or damaged, the same wherever it lies."""
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


DAMAGES = all_damages()
# One in so many damages is met, spread over all files and settings: each command meets more than a hundred, and the
# whole suite stays within a quarter of an hour.
FOR_DOORS, FOR_OTHERS = 3, 8


def share(one_in: int, everyday: int = 0) -> list[pytest.ParameterSet]:
    """One in so many damages; of those, one in so many belongs to the everyday run."""
    return [
        pytest.param(
            damage,
            id=f"{damage.model}, {damage.name}",
            marks=() if everyday and place % everyday == 0 else pytest.mark.slow,
        )
        for place, damage in enumerate(DAMAGES[::one_in])
    ]


@pytest.fixture(autouse=True)
def _elsewhere(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where every file that is written beside the results is seen."""
    monkeypatch.chdir(whole.folder)


@pytest.mark.parametrize("damage", share(FOR_DOORS, everyday=2))
def test_a_damaged_model_is_refused_or_has_the_numbers_of_the_whole_one(damage: Damage, whole: Whole) -> None:
    told = set()
    with whole.damaged(damage) as folder:
        before = files_in(whole.folder)
        for command in DOORS:
            answer = run(arguments(command, folder, whole))
            require_sound(answer, whole.said(command, damage.model), damage, folder)
            told |= {answer.err} if answer.code == 2 else set()
        assert files_in(whole.folder) == before
    assert not damage.told or any(damage.told in each for each in told), (damage.told, told)


@pytest.mark.parametrize("damage", share(FOR_OTHERS))
def test_every_other_command_loads_by_the_same_doors(damage: Damage, whole: Whole) -> None:
    with whole.damaged(damage) as folder:
        before = files_in(whole.folder)
        loads = run(arguments("gradients", folder, whole)).code == 0
        for command in OTHER_COMMANDS:
            if command in QUICK:
                answer = run(arguments(command, folder, whole))
                require_sound(answer, whole.said(command, damage.model), damage, folder)
            elif not loads:
                answer = run(arguments(command, folder, whole))
                assert answer.code == 2
                require_sentence(answer, damage, folder)
        assert files_in(whole.folder) == before


def test_there_are_a_hundred_damages_for_every_command() -> None:
    assert len(DAMAGES[::FOR_DOORS]) >= 300
    assert len(DAMAGES[::FOR_OTHERS]) >= 100


AS_PROCESSES = (
    "config.json: a pipe",
    "config.json: an endless device",
    "tokenizer.json: a pipe",
    "model-00001-of-00002.safetensors: a pipe",
    "model-00002-of-00002.safetensors: an endless device",
    "model.safetensors.index.json: an endless device",
    "config.json: num_hidden_layers is huge",
    "config.json: deeper than is read",
    "tensor: NaN",
    "header: a name with control characters",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_PROCESSES)
@pytest.mark.parametrize("command", DOORS)
def test_a_process_ends_with_a_sentence(command: str, name: str, whole: Whole) -> None:
    damage = next(each for each in DAMAGES if each.name == name and each.model == "llama")
    with whole.damaged(damage) as folder:
        found = subprocess.run(
            [sys.executable, "-m", "iclprobe", *arguments(command, folder, whole)],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            cwd=whole.folder,
            check=False,
        )
        answer = Answer(found.returncode, found.stdout, found.stderr)
        require_sound(answer, whole.said(command, damage.model), damage, folder)


def _device(name: str) -> Callable[[Path], list[str]]:
    return lambda model: ["check", str(model), "--device", name]


@pytest.mark.parametrize(
    "name", ["foo", "cuda:99", "cuda:-1", "meta", "mps", "xla", "vulkan", "hpu", "privateuseone"]
)
def test_a_device_that_is_not_here_is_told(name: str, whole: Whole) -> None:
    model = whole.model("llama")
    for argv in (["check", str(model), "--device", name], ["sparsity", str(model), "--device", name]):
        answer = run(argv)
        assert answer.code == 2
        assert re.search("device", answer.err), answer.err
        require_sentence(answer, Damage("none", "llama", lambda _: None), model)
