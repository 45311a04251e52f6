"""The analysis of transfer on the embedded model: its tables from what it keeps, alarms, estimates, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from model_snapshot import assert_as_it_was, snapshot

from iclprobe import LanguageModel, Study, UserError, load_model, transfer
from iclprobe.analyses.context import Context
from iclprobe.analyses.transfer.config import TransferConfig
from iclprobe.analyses.transfer.estimate import transfer_needs
from iclprobe.analyses.transfer.patched import batch_rows
from iclprobe.study.names import (
    ALL_ATTENTION,
    ALONG,
    MEAN_FT,
    MODEL_ITSELF,
    ONE_ATTENTION,
    OWN_FT,
    OWN_ICL,
    REMAINDER,
)

SMALL: dict[str, Any] = {"shots": 3, "limit": 6, "device": "cpu", "resamples": 40}
KEY = ["place", "layer", "update", "recipe", "alpha"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model("pocket", device="cpu")


@pytest.fixture(scope="module")
def study(model: LanguageModel) -> Study:
    before = snapshot(model.module)
    made = transfer(
        model=model,
        seeds=(0, 1),
        recipes=("dai", {"preset": "shen", "epochs": 2}),
        learning_rate=0.01,
        alphas=(0, 1, 2),
        layer_alphas=(1,),
        layers=(0, -1),
        **SMALL,
    )
    assert_as_it_was(model.module, before)
    return made


def _answers(study: Study, seed: int, **where: Any) -> np.ndarray:
    found = study.tables["patched"]
    found = found[found["seed"] == seed]
    for name, value in where.items():
        found = found[found[name].isna() if value is None else found[name] == value]
    table = found.pivot_table(index="query", columns="label", values="logprob", sort=True)
    values = table.to_numpy(dtype=float)
    return values - values.mean(axis=1, keepdims=True)


def test_every_number_can_be_had_from_what_was_kept(study: Study) -> None:
    transfer_table = study.tables["transfer"]
    some = transfer_table[transfer_table["measure"] == "closed"].sample(20, random_state=0)
    for row in some.to_dict("records"):
        where = {name: None if row[name] is None or row[name] != row[name] else row[name] for name in KEY}
        where = {name: None if str(value) == "<NA>" else value for name, value in where.items()}
        each = []
        for seed in (0, 1):
            given = _answers(study, seed, **where)
            before, icl = (
                _answers(study, seed, place=MODEL_ITSELF, update=name) for name in ("zero-shot", "ICL")
            )
            each.append(1 - ((given - icl) ** 2).sum() / ((before - icl) ** 2).sum())
        assert row["value"] == pytest.approx(np.mean(each), abs=1e-6), where
        assert row["std"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
        assert (row["draws"], row["defined"], row["of"]) == (2, 12, 12)
        assert row["low"] <= row["high"]


def test_places_and_alphas_are_those_asked_for(study: Study) -> None:
    found = study.tables["transfer"]
    by_place = found.groupby("place")
    assert set(by_place.groups) == {MODEL_ITSELF, ALL_ATTENTION, "residual stream"}
    assert set(by_place.get_group(ALL_ATTENTION)["alpha"]) == {0, 1, 2}
    residual = by_place.get_group("residual stream")
    assert set(residual["alpha"]) == {1} and set(residual["layer"]) == {0, 5}
    at_once = found[(found["place"] == ALL_ATTENTION) & (found["measure"] == "closed")]
    values = at_once.set_index(["update", "recipe", "alpha"])["value"]
    assert values[OWN_ICL].loc[(np.nan, 1.0)] == pytest.approx(1, abs=1e-4)
    (zero,) = at_once.loc[at_once["alpha"] == 0, "value"]
    assert zero == pytest.approx(0, abs=1e-9)
    # Only the first one trains attention alone: its updates at all attention outputs are its finetuned model.
    itself = found[(found["place"] == MODEL_ITSELF) & (found["measure"] == "closed")].set_index("recipe")[
        "value"
    ]
    assert values[OWN_FT, "dai", 1.0] == pytest.approx(itself["dai"], abs=1e-4)
    assert values[MEAN_FT, "dai", 1.0] != values[OWN_FT, "dai", 1.0]
    assert abs(values[OWN_FT, "shen", 1.0] - itself["shen"]) > 0.1


def test_single_layers_are_written_on_request(model: LanguageModel) -> None:
    study = transfer(
        model=model, sites="attention_output", layers=(1,), learning_rate=0.01, alphas=(1,), **SMALL
    )
    found = study.tables["transfer"]
    given = found[found["place"] == ONE_ATTENTION]
    assert set(given["layer"]) == {1} and given.loc[given["measure"] == "closed", "value"].notna().all()
    assert set(study.figures()) == {"single_layers"}
    assert "attention output, layer" in study.table()


def test_a_finetuned_model_that_is_the_zero_shot_one_is_an_alarm_and_undefined(model: LanguageModel) -> None:
    study = transfer(model=model, learning_rate=1e-30, alphas=(1,), layer_alphas=(1,), layers=(0,), **SMALL)
    first = study.findings[0]
    assert first.kind == "alarm" and "changed no attention output of 6 queries" in first.sentence
    found = study.tables["transfer"]
    for update in (OWN_FT, MEAN_FT, ALONG, REMAINDER):
        rows = found[(found["update"] == update) & (found["measure"] != "none")]
        assert rows["value"].isna().all() and (rows["defined"] == 0).all() and (rows["draws"] == 0).all()
    sentence = next(each.sentence for each in study.findings if each.name.startswith(f"closed, {ALONG}"))
    assert "undefined" in sentence
    own = found[
        (found["update"] == OWN_ICL) & (found["measure"] == "closed") & (found["place"] == ALL_ATTENTION)
    ]
    assert own["value"].item() == pytest.approx(1, abs=1e-4)
    assert study.figures()


def test_what_it_takes_is_estimated_and_said_first(model: LanguageModel) -> None:
    said: list[str] = []
    config = TransferConfig(learning_rate=0.01, alphas=(0, 1), layers=(0,), **SMALL)
    transfer(config, model=model, say=said.append)
    assert said and said[0].startswith("estimate: ") and "last tokens run" in said[0]
    needed = transfer_needs(config, Context({"model": model}))
    more = transfer_needs(config.model_copy(update={"seeds": (0, 1, 2)}), Context({"model": model}))
    assert 0 < needed.seconds < 600 and needed.memory_bytes > 1e6
    assert more.disk_bytes > needed.disk_bytes
    assert [batch_rows(*each) for each in ((635, 204), (640, 64), (40, 204), (3, 1), (0, 5))] == [
        80,
        64,
        40,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alphas": (0, 2)}, "1, the update itself"),
        ({"alphas": (1, 1)}, "named twice"),
        ({"sites": "residual,keys"}, "sites"),
        ({"limit": 1}, "--limit"),
        ({"layers": (9,)}, "no layer 9"),
        ({"recipes": ("dai", "dai")}, "two recipes"),
        ({"recipes": ("nosuch",)}, "nosuch"),
    ],
)
def test_what_cannot_be_asked_is_refused(model: LanguageModel, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        transfer(model=model, **{**SMALL, "learning_rate": 0.01, **options})


def test_alphas_are_read_from_a_text() -> None:
    config = TransferConfig.model_validate({"alphas": "0,0.5,1", "layers": "0,-1", "recipes": "dai,shen"})
    assert config.alphas == (0.0, 0.5, 1.0) and config.layers == (0, -1) and len(config.recipes) == 2
    assert math.isclose(config.level, 0.95)
