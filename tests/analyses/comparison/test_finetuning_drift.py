"""Where finetuning wrote."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch

from iclprobe.analyses.comparison.finetuning_drift import finetuning_drift
from iclprobe.models.delta import Delta
from iclprobe.models.loading import load_model


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon_grouped"])
def test_only_what_a_delta_holds_has_moved_and_the_model_is_as_before(name: str) -> None:
    module: Any = tiny_families.fresh(name)
    model = load_model(module)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    part = {
        "llama": "layers.1.self_attn.k_proj",
        "gpt2": "h.1.attn.c_attn",
        "falcon_grouped": "h.1.self_attention.query",
    }
    (tensor,) = [
        key for key in dict(module.named_parameters()) if part[name] in key and key.endswith("weight")
    ]
    moved = finetuning_drift(model, Delta({tensor: before[tensor] + 0.25}))
    wrote = {(row.layer, row.matrix) for row in moved if row.drift.mean_absolute > 0}
    fused = {(1, "query"), (1, "key"), (1, "value")}
    assert wrote == ({(1, "key")} if name == "llama" else fused)
    for row in moved:
        assert row.drift.mean_absolute == pytest.approx(
            0.25 if (row.layer, row.matrix) in wrote else 0.0, rel=1e-5
        )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
