"""Ten damaged models before every command that takes a model, each as a process: its exit code, and that it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import forked_commands
import pytest
from damaged_commands import (
    BY_OTHER_OPTIONS,
    COMMANDS,
    Answer,
    Whole,
    all_damages,
    arguments,
    files_in,
    nameless,
    require_sound,
    write_whole,
)
from forked_commands import Commands

PATIENCE = 60
"""Seconds after which a process hangs, on a machine with other work to do as well."""

STILL_ANSWERED = {
    "tensor: NaN": {"prompt"},
    "header: a name with control characters": {"prompt"},
}
"""Damages that only weights show, with the commands that read none: these answer as they do for the whole model."""
DAMAGES = (
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


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return write_whole(tmp_path_factory.mktemp("p"))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with forked_commands.serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("name", DAMAGES)
def test_a_process_ends_with_a_sentence(name: str, whole: Whole, commands: Commands) -> None:
    damage = next(each for each in all_damages() if each.name == name and each.model == "llama")
    with whole.damaged(damage) as folder:
        before = files_in(whole.folder)
        for command in (*COMMANDS, *BY_OTHER_OPTIONS):
            ended = commands.run(arguments(command, folder, whole), whole.folder, PATIENCE)
            assert ended.code == (0 if command in STILL_ANSWERED.get(name, ()) else 2), (command, ended)
            require_sound(
                Answer(ended.code, ended.out, ended.err),
                whole.said(command, damage.model) if ended.code == 0 else "",
                damage,
                folder,
            )
        assert files_in(whole.folder) == before


def test_a_process_has_the_code_and_output_of_its_command(whole: Whole, commands: Commands) -> None:
    argv = arguments("prompt", whole.model("llama"), whole)
    ended = commands.run(argv, whole.folder, PATIENCE)
    assert (ended.code, nameless(ended.out, whole.model("llama"))) == (0, whole.said("prompt", "llama"))
    assert commands.run(["no-such-command"], whole.folder, PATIENCE).code == 2
    assert commands.run(["families", "--help"], whole.folder, PATIENCE).out.startswith("Usage:")


def test_a_process_that_hangs_is_ended(whole: Whole, commands: Commands, tmp_path: Path) -> None:
    # Its standard output is a pipe that nobody reads: opening it would wait for ever.
    os.mkfifo(tmp_path / "stdout")
    ended = Commands(commands.server, tmp_path).start(["families"], whole.folder, 1)
    assert ended == -signal.SIGALRM
