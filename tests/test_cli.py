"""The command line as a user meets it: exit codes, one sentence for a mistake, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_checkpoint

import iclprobe
from iclprobe.cli import main


@pytest.fixture
def arguments(checkpoint: Path, records: Path) -> list[str]:
    return [
        *("compare", "--model", str(checkpoint), "--task", "tone", "--data", str(records)),
        *("--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good"),
        *("--shots", "4", "--lr", "0.5", "--device", "cpu"),
    ]


def test_compare_prints_the_table_and_writes_the_run_directory(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "SimAOU" in printed.out and f"wrote {tmp_path / 'run'}" in printed.err
    assert "estimate: " in printed.err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["complete"] is True


def test_a_config_file_runs_again_and_options_override_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    config = str(tmp_path / "one" / "config.yaml")
    assert main(["compare", "--config", config, "--layers", "-1", "--out", str(tmp_path / "two")]) == 0
    layers = (tmp_path / "two" / "layers.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in layers[1:]} == {"2"}


def test_a_comma_makes_a_grid_and_its_config_file_runs_again(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = ["--shots", "1,2", "--recipe", "dai,barnatan_lcft", "--limit", "4"]
    assert main([*arguments, *several, "--out", str(tmp_path / "grid")]) == 0
    assert "barnatan_lcft, 2 shots" in capsys.readouterr().out
    assert (tmp_path / "grid" / "layer_profile-1shots-barnatan_lcft.png").exists()
    config = ["compare", "--config", str(tmp_path / "grid" / "config.yaml")]
    assert main([*config, "--shots", "2", "--out", str(tmp_path / "column")]) == 0
    column = iclprobe.load_study(tmp_path / "column")
    assert isinstance(column, iclprobe.Comparison)
    assert column.cells == (("dai", 2), ("barnatan_lcft", 2))
    assert main([*config, "--shots", "2", "--recipe", "dai", "--out", str(tmp_path / "one")]) == 0
    assert (tmp_path / "one" / "layer_profile.png").exists()
    assert main(["show", str(tmp_path / "column")]) == 0
    assert (tmp_path / "column" / "table.txt").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--recipe", "dai,shen", "--finetuned", "somewhere"], "--finetuned"),
        (["--shots", "2,2"], "twice"),
        (["--shots", "1,many"], "--shots"),
        (["--recipe", "dai,dai"], "'dai'"),
        (["--recipe", "dai,no-such-recipe"], "no-such-recipe"),
        (["--model", "no/such/model"], "no/such/model"),
        (["--layers", "7"], "no layer 7"),
        (["--layers", "first"], "first"),
        (["--label-words", "good,good"], "good"),
        (["--label-words", "good"], "label"),
        (["--data", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["--shots", "1000"], "1000"),
        (["--shots", "many"], "--shots"),
        (["--recipe", "shen_adam", "--lr", "1e18"], "diverged"),
        (["--lr", "published"], "published"),
        (["--recipe", "no-such-recipe"], "no-such-recipe"),
        (["--device", "toaster"], "toaster"),
        (["--dtype", "float12"], "float12"),
        (["--score-space", "softcapped"], "softcapped"),
        (["--seed", "1", "--seeds", "1,2"], "--seeds"),
        (["--seeds", "one"], "one"),
        (["--batch-size", "0"], "0"),
        (["--columns", "text"], "--columns"),
        (["--max-record-tokens", "1"], "1"),
        (["--no-such-option"], "--no-such-option"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    change: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert main([*arguments, *change, "--out", str(out)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("estimate:")]
    told = [line for line in said if line.startswith("iclprobe: ")]
    assert len(told) == 1 and named in told[0]
    assert not out.exists() and not list(tmp_path.glob(".*unfinished*"))


@pytest.mark.parametrize(
    ("train", "named"),
    [
        ("", "no records"),
        ('{"text": "the cake is fine", "label": 7}\n', "7"),
        ('{"text": "the cake is fine"}\n', "label"),
        ("not json\n", "1"),
    ],
)
def test_unusable_records_are_named(
    arguments: list[str], train: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny_checkpoint.write_records(tmp_path / "data")
    (data / "train.jsonl").write_text(train)
    assert main([*arguments, "--data", str(data), "--out", str(tmp_path / "run")]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_controls_print_the_table_and_write_the_run_directory(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["controls", *arguments[1:], "--controls", "none,shuffled_prefix", "--limit", "4"]
    assert main([*some, "--out", str(tmp_path / "run")]) == 0
    assert "shuffled prefix" in capsys.readouterr().out
    config = ["--config", str(tmp_path / "run" / "config.yaml"), "--controls", "random_update"]
    assert main(["controls", *config, "--out", str(tmp_path / "again")]) == 0
    assert "random update" in (tmp_path / "again" / "table.txt").read_text()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--controls", "placebo"], "placebo"),
        (["--other-task", "no-such-task"], "no-such-task"),
        (["--other-task", "tone"], "'tone' itself"),
        (["--recipe", "shen_adam", "--lr", "1e18"], "diverged"),
        (["--seeds", "one"], "one"),
        (["--recipe", "no-such-recipe"], "no-such-recipe"),
    ],
)
def test_a_mistake_with_controls_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    change: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert main(["controls", *arguments[1:], *change, "--out", str(out)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iclprobe: ")]
    assert len(told) == 1 and named in told[0]
    assert not out.exists() and not list(tmp_path.glob(".*unfinished*"))


def test_an_unknown_task_is_answered_with_the_known_ones(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["compare", "--model", str(checkpoint), "--task", "no-such-task", "--out", str(out)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "no-such-task" in said and "sst2" in said
    assert not out.exists()


def test_a_family_without_a_row_is_named(
    arguments: list[str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    assert main([*arguments, "--model", str(tmp_path / "model")]) == 2
    assert "'t5'" in capsys.readouterr().err


def test_a_prompt_longer_than_the_context_window_is_told(
    arguments: list[str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    short = tiny_checkpoint.write_checkpoint(tmp_path / "short")
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    assert main([*arguments, "--model", str(short)]) == 2
    assert "context" in capsys.readouterr().err


def test_half_written_and_finished_run_directories_are_not_overwritten(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "results.json").write_text("{}")
    assert main([*arguments, "--out", str(half)]) == 2
    assert (half / "results.json").read_text() == "{}"
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "run"), "--overwrite"]) == 0


def test_check_tells_what_held(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(checkpoint), "--device", "cpu"]) == 0
    assert "tap" in capsys.readouterr().out


def test_tasks_and_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0 and main(["families"]) == 0
    printed = capsys.readouterr().out
    assert "sst2" in printed and "gpt_neox" in printed


@pytest.mark.parametrize("code", ["import iclprobe", "from iclprobe.cli import main; main(['--help'])"])
def test_importing_and_help_load_no_heavy_library(code: str) -> None:
    program = f"import sys; {code}; print('loaded', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split("loaded", 1)[1].split())
    assert not loaded & {"torch", "transformers", "pandas", "matplotlib", "numpy"}


def test_every_public_name_is_there() -> None:
    import iclprobe

    assert all(getattr(iclprobe, name) is not None for name in iclprobe.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = iclprobe.no_such_name


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_while_torch_is_imported_ends_without_a_crash() -> None:
    code = (
        "import os, signal, sys, importlib.abc\n"
        "class Interrupting(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch._ops': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from iclprobe.cli import main\n"
        "try: print(main(['sparsity', 'pocket']))\n"
        "finally: print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
