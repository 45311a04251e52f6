"""Working memory comes in the shape, dtype and place that were asked for."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.scratch import scratch


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.bfloat16])
def test_it_is_what_was_asked_for(dtype: torch.dtype, device: str) -> None:
    memory = scratch(3, 5, dtype=dtype, device=torch.device(device))
    assert (tuple(memory.shape), memory.dtype, memory.device.type) == ((3, 5), dtype, device)


def test_on_a_cpu_it_is_not_taken_from_torch() -> None:
    # What numpy lends cannot be resized by torch.
    assert not scratch(3, dtype=torch.float32, device=torch.device("cpu")).untyped_storage().resizable()
