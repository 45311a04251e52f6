from __future__ import annotations

from collections.abc import Iterator

import forked_commands
import pytest
import tiny_analysis
from forked_commands import Commands


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with tiny_analysis.registered():
        yield


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with forked_commands.serve(tmp_path_factory.mktemp("server"), "tiny_commands") as running:
        yield running
