"""Whatever stands on the command line or in its files: exit code 0 or 2, one sentence, nothing written elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaged_inputs import damaged

from iclprobe.cli import main

ODD = (
    "",
    " ",
    "-",
    "--",
    "\x00",
    "\x1b[31mred",
    "\ud800",
    "\udcff",
    "é" * 200,
    "x" * 5000,
    "9" * 30,
    "nan",
    "-1",
    "[1, 2",
    "{text}{label}",
    "{0.__class__}",
    "a=b=c",
    "a,b,,c",
    "~nobody-of-this-name/x",
    "/dev/null",
    "../" * 50,
    "(a+)+$",
    "*" * 100,
    "http://[",
    "pocket@",
    "8:16:0",
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "prompt": (
        "--model",
        "--revision",
        "--tokenizer",
        "--task",
        "--template",
        "--label-words",
        "--separator",
        "--columns",
        "--data",
        "--quoting",
        "--chat-template",
        "--seed",
        "--order",
        "--limit",
        "--config",
        "--max-record-tokens",
        "--shots",
    ),
    "compare": (
        "--recipe",
        "--lr",
        "--layers",
        "--position",
        "--scoring",
        "--device",
        "--dtype",
        "--finetuned",
        "--steps",
        "--revision-template",
        "--adapter",
        "--batch-size",
        "--out",
    ),
    "controls": ("--controls", "--other-task", "--recipe"),
    "sparsity": ("--layers", "--threshold", "--family", "--revision", "--pattern"),
    "drift": ("--steps", "--icl", "--pattern", "--layers"),
    "order": ("--arms", "--lr", "--candidates", "--models"),
    "outputs": ("--arms", "--overlap-norm"),
    "gradients": ("--recipe", "--parameters", "--reduction"),
    "transfer": ("--recipe", "--sites", "--layers", "--alphas", "--layer-alphas", "--level"),
    "construction": ("--demonstrations", "--schedule", "--model", "--input-range"),
    "reproduce": ("--set", "--scale", "--only", "--out"),
}
# Few records and a model of a few layers would still be measured where a damaged value happens to be a good one.
SMALL = {
    "compare": ["--shots", "9999"],
    "controls": ["--shots", "9999"],
    "order": ["--shots", "9999"],
    "gradients": ["--shots", "9999"],
    "outputs": ["--shots", "9999"],
    "transfer": ["--shots", "9999"],
    "sparsity": ["nowhere-at-all"],
    "drift": ["nowhere-at-all", "nor-there"],
    "construction": ["--steps", "1", "--evaluate-every", "0"],
    "reproduce": ["shen", "nothing-of-this-name"],
}
EVERYDAY = ("prompt", "construction")
SETTINGS = (
    "shots: 2\nseeds: [0, 1]\nlimit: 3\n"
    "label_words: {0: bad, 1: good}\nplan: {layers: '0:1'}\nrecipe: {preset: dai}\n"
)
RECORDS = (
    '{"text": "a fine film", "label": 1}\n{"text": "dull", "label": 0}\n{"text": "so so", "label": 0}\n' * 3
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def _ends_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(arguments)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} of {arguments!r:.300}") from error
    said = capsys.readouterr().err
    assert code in (0, 2), arguments
    assert "Traceback" not in said
    if code == 2:
        last = said.strip().splitlines()[-1]
        assert last.startswith("iclprobe") and len(last) <= 320, f"{arguments!r:.200}: {last}"


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow) for name in OPTIONS],
)
def test_no_option_ends_in_a_traceback(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in OPTIONS[command]:
        for value in ODD:
            _ends_well([command, *SMALL.get(command, []), f"{option}={value}"], capsys)
    left = [path for path in here.parent.rglob("*") if path.is_file()]
    assert all(here / "runs" in path.parents for path in left), left


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in (1, 2, 3))])
def test_no_file_ends_in_a_traceback(block: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--template", "Review: {text}\nSentiment:", "--label-words", "bad,good", "--shots", "2"]
    for seed in range(25 * block, 25 * block + 25):
        for name, valid, arguments in (
            ("config.yaml", SETTINGS, ["compare", "--shots", "9999", "--config"]),
            ("recipe.yaml", "preset: dai\nepochs: 2\n", ["compare", "--shots", "9999", "--recipe"]),
            ("data.jsonl", RECORDS, ["prompt", *own, "--data"]),
            ("data.csv", 'text,label\n"a ""b""",1\nc,0\nd,0\ne,1\n', ["prompt", *own, "--data"]),
        ):
            (here / name).write_bytes(damaged(valid, seed).encode("utf-8", "surrogatepass"))
            _ends_well([*arguments, name], capsys)
    files = {path.name for path in here.rglob("*") if path.is_file()}
    assert files == {"config.yaml", "recipe.yaml", "data.jsonl", "data.csv"}
