from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny_analysis


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with tiny_analysis.registered():
        yield
