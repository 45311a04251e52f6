from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import forked_commands
import pytest
import tiny_analysis
from forked_commands import Commands
from sweep_files import tiny_study

from iclprobe.sweeps.sweep import sweep


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with tiny_analysis.registered():
        yield


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with forked_commands.serve(tmp_path_factory.mktemp("server"), "tiny_commands") as running:
        yield running


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a sweep of twelve cells that nothing stopped."""
    study = tiny_study(tmp_path)
    result = sweep(study, out=tmp_path / "whole")
    assert (result.computed, result.kept, result.failures, result.missing) == (12, 0, (), 0)
    return tmp_path / "whole"
