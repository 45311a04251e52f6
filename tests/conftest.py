"""Makes the helpers in this folder importable by their bare names, and keeps tiny models on one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tensors this small only lose time to thread teams. Set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_checkpoint

    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_checkpoint

    return tiny_checkpoint.write_records(tmp_path_factory.mktemp("records"))


LONGEST_MESSAGE = 300
LONG_MESSAGES = {
    "test_an_error_pickles_and_copies": "it makes a long one to see that it survives whole",
}


@pytest.fixture(autouse=True)
def short_messages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which a message to the user was made that is longer than a sentence may be."""
    from iclprobe.errors import UserError

    long: list[str] = []
    begin = UserError.__init__

    def measured(self: UserError, *arguments: Any) -> None:
        begin(self, *arguments)
        if len(str(self)) > LONGEST_MESSAGE:
            long.append(str(self))

    monkeypatch.setattr(UserError, "__init__", measured)
    yield
    if request.node.originalname not in LONG_MESSAGES:
        assert not long, f"a message of {len(long[0])} characters: {long[0]}"
