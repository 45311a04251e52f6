"""What the papers' tables, claims and lists say, on results made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from iclprobe.analyses.papers.catalogue import EXPERIMENTS, find_experiments
from iclprobe.analyses.papers.claim_list import CLAIM_LIST
from iclprobe.analyses.papers.claims import Judged, claim_row
from iclprobe.analyses.papers.claims_config import ClaimsConfig
from iclprobe.analyses.papers.declaration import Scale
from iclprobe.analyses.papers.effects import Effect
from iclprobe.analyses.papers.experiment_index import Index, IndexRow
from iclprobe.analyses.papers.footnotes import footnotes_of
from iclprobe.analyses.papers.listing import index_text, listing_text
from iclprobe.analyses.papers.registration import CLAIMS
from iclprobe.study.study import Study, make_study


def made_claims(judged: list[Judged], scale: Scale = "pocket", models: str = "pocket") -> Study:
    facts = {"models": models, "scale": scale}
    rows = [{"name": name, "text": text} for name, text in facts.items()]
    tables = {"claims": [claim_row(entry) for entry in judged], "facts": rows}
    return make_study(CLAIMS, ClaimsConfig(scale=scale), tables, (), {})


def three_claims() -> Study:
    holds, fails, missing, *_ = CLAIM_LIST
    return made_claims(
        [
            Judged(holds, Effect(50.0, 40.0, 60.0, "by hand"), "holds"),
            Judged(fails, Effect(1.0, 0.0, 2.0, "by hand"), "fails"),
            Judged(missing, None, "undecided"),
        ]
    )


def effects_in(axes: Any) -> list[float]:
    found = [np.asarray(line.get_xdata()) for line in axes.lines]
    return [float(values[0]) for values in found if len(values) == 1]


def test_claims_show_sentence_effect_interval_and_verdict() -> None:
    study = three_claims()
    text = " ".join(study.table(width=400).split())
    assert "the sparsity ratio is much lower" in text and "(shen2024 §3.2)" in text
    assert "50 [40, 60] points; by hand, holds if > 20" in text
    assert text.count("not run") == 1 and "1 holds" in text and "2 fails" in text and "3 undecided" in text
    frame = study.to_pandas()
    assert list(frame["verdict"]) == ["holds", "fails", "undecided"]
    assert math.isnan(frame["value"].tolist()[2]) and frame["criterion"].tolist()[0] == "> 20"


def test_the_figure_of_claims_has_a_row_each_and_what_is_claimed_on_the_right() -> None:
    (axes,) = three_claims().plot().axes
    assert [label.get_text().split()[0] for label in axes.get_yticklabels()] == ["1", "2", "3"]
    holds, fails = effects_in(axes)
    assert holds > 0 > fails
    below = next(claim for claim in CLAIM_LIST if claim.below is not None and claim.above is None)
    assert below.below is not None
    met = Effect(below.below - 1, below.below - 2, below.below - 0.5, "by hand")
    (axes,) = made_claims([Judged(below, met, "holds")], "paper", "some model").plot().axes
    assert effects_in(axes)[0] > 0


def test_lists_name_every_experiment_and_what_became_of_it() -> None:
    lines = listing_text(EXPERIMENTS, 7).splitlines()
    assert len(lines) == len(EXPERIMENTS) + 1
    assert lines[0].split()[:3] == ["shen2024", "fig2", "sparsity"] and "7 empirical" in lines[-1]
    rows = (
        IndexRow("shen2024", "fig2", "Sparsity", "sparsity", "written", "shen2024-fig2"),
        IndexRow("barnatan", "table1", "Accuracy", "compare", "failed", "", "no network"),
    )
    text = index_text(Index(rows, 61.0))
    assert "failed     Accuracy: no network" in text
    assert text.endswith("2 experiments: 1 written, 1 failed; 61 s")


def test_footnotes_stand_under_their_keys() -> None:
    (experiment,) = find_experiments("barnatan", "table3")
    keys = [note["key"] for note in footnotes_of(experiment, "paper")]
    assert set(experiment.footnotes) <= set(keys) and "pocket" not in keys
    (drawn,) = find_experiments("shen2024", "fig4")
    assert (
        footnotes_of(drawn, "pocket")[0]["key"] == "*"
        and footnotes_of(drawn, "pocket")[-1]["key"] == "pocket"
    )
