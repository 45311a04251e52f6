"""On a real model ten steps of each imitation go where they should: alike inside, or alike in what is said."""

from __future__ import annotations

import pytest
from shared_material import real_model, shared

import iclprobe
from iclprobe.study.names import LABEL_KL_FINDING, PARTIAL

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_ten_steps_of_imitation_move_simaou_or_the_answers() -> None:
    ten_steps = {"epochs": 1, "target_records": 30, "batch_size": 3}
    study = iclprobe.compare(
        model=str(real_model("gemma3-270m")),
        task="sst2",
        data=str(shared("data/sst2")),
        template="shen",
        shots=8,
        limit=12,
        dtype="float32",
        recipes=(
            {"preset": "dai", "learning_rate": 0.01},
            {"preset": "match_icl", **ten_steps},
            {"preset": "distill_icl", **ten_steps},
        ),
        null_draws=2,
        resamples=100,
        keep_rows=0,
        keep_maps=0,
    )
    assert (study.tables["losses"].groupby("recipe").size()[["match_icl", "distill_icl"]] == 10).all()
    over = study.tables["over_draws"].set_index(["recipe", "measure"])["mean"]
    inside, partial = over[:, "SimAOU"], over[:, PARTIAL]
    assert inside["match_icl"] > inside["dai"] + 0.3 and partial["match_icl"] > partial["dai"]
    assert inside["distill_icl"] < 0.6 * inside["match_icl"]
    kl = {one.where["recipe"]: one.value for one in study.findings if one.name == LABEL_KL_FINDING}
    # Ten steps towards ICL's answers show on the records that are imitated, and not yet on so few queries.
    assert kl.keys() >= {"match_icl", "distill_icl"}
    losses = study.tables["finetuning"].set_index("recipe")
    for name in ("match_icl", "distill_icl"):
        assert losses.loc[name, "final_loss"] < losses.loc[name, "first_loss"]
