"""What commands do with standard output and standard error: closed pipes, -q, -v, --version, shell completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import iclprobe
from iclprobe.cli import main
from iclprobe.study.analysis import registered_analyses

GRADIENTS = ["gradients", "--shots", "2", "--device", "cpu", "--lr", "0.05", "--no-page"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    iclprobe.gradients(shots=2, device="cpu", learning_rate=0.05, out=folder)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is told in another way elsewhere")
@pytest.mark.parametrize("command", ["show RUN", "families --all", "compare -h", "tasks", "completion bash"])
def test_a_closed_pipe_is_no_failure(command: str, run: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = command.replace("RUN", str(run)).split()
    done = subprocess.run(
        [sys.executable, "-m", "iclprobe", *arguments], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_quiet_says_nothing_beside_the_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iclprobe", *GRADIENTS, "-q", "--out", str(tmp_path / "run")]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.rstrip("\n") == str(iclprobe.load_study(tmp_path / "run")) and said.stderr == ""


def test_verbose_lets_libraries_speak(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "iclprobe", *GRADIENTS, "--out", str(tmp_path / "run")]
    quiet, loud = (
        subprocess.run([*arguments, *more], capture_output=True, text=True, check=True).stderr
        for more in ([], ["--overwrite", "-v"])
    )
    assert "INFO" not in quiet and len(loud) > len(quiet)
    assert "Traceback" not in loud


def test_quiet_and_verbose_are_not_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GRADIENTS, "-q", "-v"]) == 2
    assert "-q" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["iclprobe", iclprobe.__version__]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_what_completes(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_ICLPROBE_COMPLETE" in capsys.readouterr().out


def test_completion_knows_commands_and_options() -> None:
    def completed(*words: str) -> set[str]:
        environment = {
            **os.environ,
            "_ICLPROBE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("iclprobe", *words)),
            "COMP_CWORD": str(len(words)),
        }
        program = [sys.executable, "-c", "from iclprobe.cli import main; main()"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert {each.command for each in registered_analyses().values()} <= completed("")
    assert {"--shots", "--config"} <= completed("compare", "--")
