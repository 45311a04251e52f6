"""`iclprobe prompt` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_checkpoint
import yaml

from iclprobe.cli import main
from iclprobe.study.loading import load_study


@pytest.fixture
def arguments(checkpoint: Path, records: Path) -> list[str]:
    return [
        *("prompt", "--model", str(checkpoint), "--task", "tone", "--data", str(records)),
        *("--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good", "--shots", "2"),
    ]


def test_prompt_prints_both_prompts_with_their_tokens(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--query", "3"]) == 0
    printed = capsys.readouterr().out
    assert "zero-shot prompt, " in printed and "in-context prompt, " in printed
    assert "query              3 of the validation records" in printed
    assert "begin-of-sequence  <s> (1)" in printed
    assert "separator          the end-of-sequence token" in printed
    assert "separator 2" in printed and "label options behind the query" in printed


def test_json_holds_the_ids(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json", "--separator", " very "]) == 0
    view = json.loads(capsys.readouterr().out)
    assert view["separator"] == " very " and view["icl"]["ids"][0] == 1
    assert len(view["icl"]["ids"]) == len(view["icl"]["tokens"])
    assert view["icl"]["parts"]["begin-of-sequence"] == 0


def test_the_config_file_of_a_comparison_serves(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["compare", *arguments[1:], "--lr", "0.01", "--limit", "3", "--seed", "2", "--device", "cpu"]
    assert main([*run, "--out", str(tmp_path / "run")]) == 0
    prompts = load_study(tmp_path / "run").tables["prompts"]
    kept = [json.loads(ids) for ids in prompts.loc[prompts["setting"] == "icl", "ids"]]
    capsys.readouterr()
    assert main(["prompt", "--config", str(tmp_path / "run" / "config.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["icl"]["ids"] == [token for ids in kept for token in ids]
    assert main(["prompt", "--config", str(tmp_path / "run" / "config.yaml"), "--shots", "1,2"]) == 2
    assert "--shots" in capsys.readouterr().err
    # A key that belongs to no command is a mistake here too.
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({"shotz": 2}))
    assert main(["prompt", "--config", str(wrong)]) == 2
    assert "unknown key 'shotz'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--query", "999"], "query 999 is not among"),
        (["--chat-template", "user_turn"], "has no chat template"),
        (["--chat-template", "assistant"], "--chat-template cannot be 'assistant'"),
        (["--model", "no/such/model"], "no/such/model"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], change: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *change]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and named in told[0]
