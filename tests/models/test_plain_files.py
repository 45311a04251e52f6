"""What is no plain file is not opened, what the hub's cache links to is, and a broken-off download is told."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from weight_tables import averaged

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models.loading import load_model
from iclprobe.models.plain_files import refuse_other_than_files, require_plain, unfinished_download


def _socket(path: Path) -> None:
    # A socket's path may be no longer than a hundred characters.
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (lambda path: path.mkdir(), "is a directory and was not opened"),
    "a pipe": (os.mkfifo, "is a pipe and was not opened"),
    "a socket": (_socket, "is a socket and was not opened"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device and was not opened"),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere/at/all"), "is a link to nothing"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_other_than_a_file_is_named_and_not_opened(kind: str, tmp_path: Path) -> None:
    make, said = KINDS[kind]
    make(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match=said) as caught:
        refuse_other_than_files(tmp_path)
    assert "vocab.txt" in str(caught.value)
    with pytest.raises(UserError, match=said):
        require_plain(tmp_path / "vocab.txt")


def test_what_no_library_opens_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "control")
    refuse_other_than_files(tmp_path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("a\0b.json", "a" * 5000):
        with pytest.raises((UserError, FileNotFoundError)):
            require_plain(tmp_path / name)


def test_links_to_files_are_files_as_in_the_hubs_cache(checkpoint: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(checkpoint.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert load_model(snapshot).n_layers == load_model(checkpoint).n_layers
    rows = [averaged(iclprobe.sparsity(str(place)), "value") for place in (snapshot, checkpoint)]
    assert rows[0].tolist() == rows[1].tolist()


@pytest.mark.parametrize("kept", [".", ".cache/huggingface/download"])
def test_a_download_that_broke_off_is_told(kept: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(checkpoint, folder)
    assert unfinished_download(folder) is None
    (folder / kept).mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").rename(folder / kept / "model.safetensors.1f.incomplete")
    for read in (load_model, iclprobe.sparsity):
        with pytest.raises(
            UserError, match=r"model\.safetensors\.1f\.incomplete'?, a download that broke off"
        ):
            read(str(folder))
