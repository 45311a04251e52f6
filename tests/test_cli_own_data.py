"""Own data from the command line: from a CSV file to a table, and one sentence for what is missing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tiny_checkpoint
import yaml

from iclprobe.cli import main
from iclprobe.on_command_line import escaped_text
from iclprobe.study.loading import load_study
from iclprobe.tasks.catalogue import task_entry, task_names


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars"])
        for noun in tiny_checkpoint.NOUNS:
            for stars, adjectives in ((5, tiny_checkpoint.GOOD), (1, tiny_checkpoint.BAD)):
                table.writerows((f"the {noun} is {adjective}", stars) for adjective in adjectives)
    return path


@pytest.fixture
def arguments(checkpoint: Path, reviews: Path, tmp_path: Path) -> list[str]:
    return [
        *(
            "compare",
            "--model",
            str(checkpoint),
            "--device",
            "cpu",
            "--shots",
            "2",
            "--lr",
            "0.5",
            "--limit",
            "6",
        ),
        *("--data", str(reviews), "--out", str(tmp_path / "run")),
    ]


def test_a_csv_file_becomes_a_table(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        "--template",
        r"Sentence: {review}\nLabel:",
        "--label-words",
        "1=bad,5=good",
        "--separator",
        r"\n\t\\n",
    ]
    assert main([*arguments, *said, "--columns", "stars=label"]) == 0
    printed = capsys.readouterr()
    assert "own (1, 5)" in printed.out
    assert "reviews.csv was split: 24 records to draw demonstrations from, 24 to ask" in printed.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["template"] == "Sentence: {review}\nLabel:" and config["separator"] == "\n\t\\n"
    assert config["label_words"] == {"1": "bad", "5": "good"}
    again = ["compare", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    first, second = (load_study(tmp_path / run).tables for run in ("run", "again"))
    for name, frame in first.items():
        assert frame.equals(second[name]), name


TEMPLATE = ["--template", "Sentence: {review} Label:"]
WORDS = ["--label-words", "1=bad,5=good"]
LABEL = ["--columns", "stars=label"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "Your data has no template: "),
        (["--task", "mine"], "The task 'mine', which is not in the catalogue, has no template: "),
        (TEMPLATE, "has no label words: "),
        ([*TEMPLATE, *WORDS], "has no column 'label' (it has review, stars)"),
        (
            [*TEMPLATE, "--label-words", "bad,good", *LABEL],
            "has the label '5': use 0 to 1 or one of bad, good",
        ),
        ([*TEMPLATE, "--label-words", "1=bad,4=good", *LABEL], "has the label '5'"),
        ([*TEMPLATE, "--label-words", "1=bad,1=good", *LABEL], "'1' twice"),
        ([*TEMPLATE, *WORDS, "--columns", "stars=label,stars=review"], "'stars' twice"),
        ([*TEMPLATE, *WORDS, *LABEL, "--seeds", "0,0"], "a seed is named twice"),
        ([*TEMPLATE, *WORDS, *LABEL, "--quoting", "some"], "quoting"),
        (["--template", "{review} {stars}", *WORDS, *LABEL], "the right answer"),
        (["--template", "{review!r} Label:", *WORDS, *LABEL], "{review!r}"),
        (["--template", "{review:.3} Label:", *WORDS, *LABEL], "{review:.3}"),
    ],
)
def test_the_one_thing_that_is_wrong_is_told(
    arguments: list[str], given: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *given]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iclprobe: ")]
    assert len(told) == 1 and named in told[0]
    assert not (tmp_path / "run").exists()


def test_gradients_take_own_data_too(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [each for each in arguments[1:] if each not in ("--limit", "6")]
    assert main(["gradients", *some, *TEMPLATE, *WORDS, *LABEL, "--recipe", "dai"]) == 0
    assert "task            own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "read"),
    [(r"a\nb", "a\nb"), (r"a\tb", "a\tb"), (r"a\\nb", r"a\nb"), (r"a\\\n", "a\\\n"), (r"C:\dir", r"C:\dir")],
)
def test_line_breaks_and_tabs_can_be_typed(text: str, read: str) -> None:
    assert escaped_text(text) == read


@pytest.mark.parametrize("name", task_names())
def test_a_task_is_shown_with_its_templates_words_and_columns(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", name]) == 0
    printed, entry = capsys.readouterr().out, task_entry(name)
    for template in entry.templates:
        assert repr(template.query) in printed and ", ".join(template.label_words) in printed
    for shown in (
        *entry.label_names,
        *entry.columns,
        entry.hub_id or "no network",
        f"--task {name} --data PATH",
    ):
        assert shown in printed


def test_a_task_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "no-such-task"]) == 2
    assert "no-such-task" in capsys.readouterr().err
