"""A real model that learns nothing from demonstrations is said to before any number."""

from __future__ import annotations

import pytest
from shared_material import real_model, shared

from iclprobe import compare


@pytest.mark.real
def test_demonstrations_that_only_disturb_are_said_first() -> None:
    comparison = compare(
        model=str(real_model("gemma3-270m")),
        task="agnews",
        data=str(shared("data/agnews")),
        shots=8,
        limit=16,
        # Nothing is asked of finetuning here: what is trained is what costs least.
        recipe={"preset": "dai", "parameters": "attn_v@-1", "loss_tokens": "label"},
        learning_rate=1e-2,
        resamples=50,
        keep_rows=0,
        keep_maps=0,
    )
    counts = comparison.tables["measures"].set_index("measure")["numerator"]
    icl, zero_shot = counts["accuracy, ICL"], counts["accuracy, zero-shot"]
    assert icl < zero_shot
    first = comparison.table().splitlines()[0]
    assert first.startswith(f"ICL is not better than zero-shot: {icl} against {zero_shot} of 16")
    # With what each label has in all queries taken off, ICL is as good as zero-shot.
    calibrated = counts["calibrated accuracy, ICL"]
    assert calibrated > icl + 2
