"""Transfer on a real pretrained model: what is exact there, too, and which part of the ICL update acts."""

from __future__ import annotations

from typing import Any

import pytest
from shared_material import real_model, shared

import iclprobe
from iclprobe.study.names import (
    ALL_ATTENTION,
    ALONG,
    MODEL_ITSELF,
    OWN_FT,
    OWN_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_what_the_updates_of_gemma_do() -> None:
    study = iclprobe.transfer(
        model=str(real_model("gemma3-270m")),
        task="sst2",
        data=str(shared("data/sst2")),
        template="shen",
        shots=8,
        limit=8,
        learning_rate=0.003,
        alphas=(0, 1),
        layer_alphas=(1,),
        layers=(-1,),
        device="cpu",
    )
    found = study.tables["transfer"]
    closed: Any = found[(found["measure"] == "closed") & (found["alpha"] == 1)].set_index(
        ["place", "update"]
    )["value"]
    assert closed[ALL_ATTENTION, OWN_ICL] == pytest.approx(1, abs=1e-4)
    assert closed[RESIDUAL_STREAM, OWN_ICL] == pytest.approx(1, abs=1e-4)
    assert closed[ALL_ATTENTION, OWN_FT] == pytest.approx(closed[MODEL_ITSELF].item(), abs=1e-3)
    assert closed[ALL_ATTENTION, REMAINDER] > closed[ALL_ATTENTION, ALONG] + 0.5
    assert study.provenance["alpha_0"]["bit_identical"] == study.provenance["alpha_0"]["rows"] == 8
