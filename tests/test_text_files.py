"""Only regular files of a bounded size are read, and no text is too odd to be asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.text_files import exists, in_home, is_file, is_folder, read_text


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe.jsonl")
    return str(tmp_path / "pipe.jsonl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--config"],
        ["compare", "--recipe"],
        ["prompt", "--template", "{text}", "--label-words", "bad,good", "--data"],
    ],
)
def test_a_pipe_is_refused_before_it_is_opened(
    arguments: list[str], pipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, pipe]) == 2
    assert "pipe.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/dev/zero", "/dev", "x" * 5000, "a\x00b", "/nowhere/at/all", "\udcff"])
def test_what_is_no_file_is_refused(place: str) -> None:
    with pytest.raises(UserError):
        read_text(place, 1000)
    assert not is_file(place)


@pytest.mark.parametrize("place", ["x" * 5000, "a\x00b", "~nobody-of-this-name/x"])
def test_a_text_that_is_no_path_is_nowhere(place: str) -> None:
    assert not exists(place) and not is_folder(place)
    assert str(in_home(place)) == place


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * 1001)
    with pytest.raises(UserError, match="1,001 bytes and at most 1,000"):
        read_text(tmp_path / "large", 1000)
    assert len(read_text(tmp_path / "large", 1001)) == 1001
