"""Half precision: rows are stored in fp32, and are those of the fp32 model within its rounding."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from expected_rows import SITES, prompt_set
from tiny_families import FAMILIES

from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan

PLAN = CapturePlan(sites=SITES, positions="all", columns="all")
CLOSE = {torch.float16: 0.03, torch.bfloat16: 0.2}


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_rows_of_half_precision_are_close(name: str, dtype: torch.dtype) -> None:
    prompts = prompt_set(name, queries=2, labels=True)
    full: Any = capture(tiny_families.build(name), prompts, PLAN)
    model: Any = tiny_families.fresh(name)
    half: Any = capture(model.to(dtype), prompts, PLAN)
    assert half.manifest["dtype"] == str(dtype).removeprefix("torch.")
    assert torch.equal(half.visible, full.visible)
    assert torch.equal(half.columns, full.columns)
    assert half.label_logprobs.dtype == half.top_logprobs.dtype == torch.float32
    for site in SITES:
        got, want = getattr(half, site), getattr(full, site)
        assert got.dtype == torch.float32
        assert got.isfinite().all()
        assert (got[~full.visible.expand_as(got)] == 0).all() if site in ("scores", "pattern") else True
        error = (got[:, 0] - want[:, 0]).norm() / want[:, 0].norm()
        assert error <= CLOSE[dtype], site
