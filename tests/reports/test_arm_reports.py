"""Tables and figures of order sensitivity and outputs say what was measured."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pandas
import pytest
import torch

from iclprobe import OrderConfig, OutputsConfig, OutputsStudy, Study
from iclprobe.analyses.arms.rows import arm_facts
from iclprobe.analyses.order.measurement import order_findings
from iclprobe.analyses.order.registration import ORDER
from iclprobe.analyses.order.registration import ROWS as ORDER_ROWS
from iclprobe.analyses.outputs.checkpoint_pairs import arms_with_pairs
from iclprobe.analyses.outputs.findings import outputs_findings
from iclprobe.analyses.outputs.kept_tokens import GROUP, KeptTokens
from iclprobe.analyses.outputs.registration import OUTPUTS
from iclprobe.analyses.outputs.registration import ROWS as OUTPUTS_ROWS
from iclprobe.probes.distributions import top_tokens
from iclprobe.reports import outputs_figures
from iclprobe.reports.arm_style import spread
from iclprobe.reports.style import NAMED_COLOURS, colours_of, png_bytes
from iclprobe.settings import make_config
from iclprobe.study.series import series_of
from iclprobe.study.study import make_study

LOST = {"accuracy_labels": math.nan, "accuracy_vocabulary": math.nan}


def order_row(
    arm: str, seed: int, rate: float | None, epoch: int | None, value: float, **fields: Any
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": "one",
        "task": "tone",
        "shots": 4,
        "layer": None,
        "chosen": False,
        "orders": 10,
        "sensitivity_std": 0.0,
        "accuracy_labels": 0.5,
        "accuracy_vocabulary": 0.25,
        "queries": 8,
        "demonstrations": 4,
    }
    own = {"arm": arm, "seed": seed, "learning_rate": rate, "epoch": epoch, "sensitivity": value}
    return {**own, **given, **fields}


def order_study(rows: list[dict[str, Any]]) -> Study:
    config = make_config(OrderConfig, {"seeds": (0, 1), "shots": 4}, "test")
    frame = ORDER_ROWS.frame(rows)
    tables = {"rows": frame, "prompts": [], "facts": arm_facts(config, frame, "4 shots", ())}
    return make_study(ORDER, config, tables, order_findings(frame), {})


@pytest.fixture
def orders() -> Study:
    rows = []
    for seed, icl in ((0, 0.1), (1, 0.3)):
        rows.append(order_row("ICL", seed, None, None, icl))
        for epoch, value in ((2, 0.04), (4, 0.02)):
            rows.append(order_row("SGD, batch 2", seed, 0.01, epoch, value + seed / 100))
            rows.append(order_row("SGD, batch 2", seed, 5.0, epoch, math.nan, **LOST))
            for layer in (3, 5):
                rows.append(
                    order_row("GD, deep layer", seed, 0.1 * (seed + 1), epoch, 1e-7, layer=layer, chosen=True)
                )
    return order_study(rows)


def test_series_hold_every_draw_and_layer(orders: Study) -> None:
    icl, sgd, lost, deep = series_of(orders.tables["rows"], "sensitivity")
    assert (icl.arm, icl.epochs, icl.values.tolist()) == ("ICL", (None,), [[0.1], [0.3]])
    assert sgd.values.tolist() == [[0.04, 0.02], [0.05, 0.03]] and sgd.rate_name == "0.01"
    assert lost.diverged == 2 and np.isnan(lost.mean).all()
    assert deep.values.shape == (4, 2) and deep.rate_name == "auto (0.1 to 0.2)"
    assert sgd.mean.tolist() == pytest.approx([0.045, 0.025])
    assert sgd.std.tolist() == pytest.approx([0.005, 0.005])
    assert sgd.most.tolist() == [0.04, 0.05] and np.isnan(lost.most).all()
    assert deep.layers == (3, 5) and sgd.layers == ()
    assert series_of(orders.tables["rows"].head(0), "sensitivity") == ()


def test_the_order_table_has_sensitivity_beside_accuracy(orders: Study) -> None:
    table = "\n".join(" ".join(line.split()) for line in orders.table().splitlines())
    lines = {
        name: next(line for line in table.splitlines() if line.startswith(f"{name} "))
        for name in ("ICL", "GD, deep layer")
    }
    assert "0.2 ± 0.1" in lines["ICL"] and "50.0 ± 0.0" in lines["ICL"] and "25.0 ± 0.0" in lines["ICL"]
    assert "auto (0.1 to 0.2)" in lines["GD, deep layer"]
    batch = [line for line in table.splitlines() if line.startswith("SGD, batch 2")]
    assert "0.025 ± 0.005" in batch[0] and "0.045 ± 0.005" in batch[0]
    assert batch[1].split()[4:7] == ["4", "–", "–"]
    assert "diverged and left out: SGD, batch 2 at 5 (2 of 2 runs)" in orders.table()
    assert "GD, deep layer: 3, 5" in orders.table()


def test_the_order_figures_draw_the_means(orders: Study) -> None:
    left, right = cast(list[Any], orders.plot().axes)
    points = [container.lines[0].get_xydata().tolist() for container in left.containers]
    assert points[:2] == [[[pytest.approx(0.2), 0]], [[pytest.approx(0.025), 1]]]
    assert [container.lines[0].get_xydata()[0][0] for container in right.containers] == [50.0, 50.0, 50.0]
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[2] == "SGD, batch 2, 5" and left.get_xlabel() == "Sen, log scale"
    assert [text.get_text() for text in left.texts] == ["diverged"], "its row is not merely empty"
    sgd, deep = orders.plot("epochs").axes
    assert (sgd.get_title(), deep.get_title()) == ("SGD, batch 2", "GD, deep layer")
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in sgd.get_lines()}
    assert drawn["ICL"] == pytest.approx([0.2, 0.2])
    assert drawn["learning rate 0.01"] == pytest.approx([0.045, 0.025])
    assert sgd.get_yscale() == "log" and sgd.get_ylim()[1] >= 0.3
    assert "diverged" in " ".join(text.get_text() for text in orders.plot("epochs").legends[0].get_texts())
    assert png_bytes(orders.plot("epochs")).startswith(b"\x89PNG")


def outputs_row(
    arm: str, shots: int, rate: float | None, epoch: int | None, value: float, **fields: Any
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": "one",
        "task": "tone",
        "seed": 0,
        "layer": None,
        "chosen": False,
        "accuracy_labels": value,
        "token_overlap": value,
        "token_overlap_std": 0.0,
        "ocs": value / 2,
        "ocs_std": 0.0,
        "queries": 8,
        "tokens": None,
    }
    own = {"arm": arm, "shots": shots, "learning_rate": rate, "epoch": epoch, "accuracy_vocabulary": value}
    return {**own, **given, **fields}


def outputs_study(rows: list[dict[str, Any]], arrays: Any = None, **settings: Any) -> OutputsStudy:
    config = make_config(OutputsConfig, settings, "test")
    frame = OUTPUTS_ROWS.frame(rows)
    facts = arm_facts(config, frame, "some shots", ())
    tables = {"rows": frame, "pairs": [], "prompts": [], "facts": facts}
    study = make_study(OUTPUTS, config, tables, outputs_findings(frame), {}, arrays)
    assert isinstance(study, OutputsStudy)
    return study


@pytest.fixture
def answers() -> OutputsStudy:
    rows = []
    for model in ("one", "two"):
        for shots in (2, 64):
            rows.append(outputs_row("zero-shot", shots, None, None, 0.1, model=model))
            if shots == 2:
                rows.append(outputs_row("ICL", shots, None, None, 0.8, model=model))
            for epoch, value in ((10, 0.6), (20, 0.4)):
                rows.append(outputs_row("GD", shots, 0.01, epoch, value, model=model))
                rows.append(outputs_row("GD", shots, 0.1, epoch, value / 2, model=model))
    return outputs_study(rows, seeds=0, shots=(2, 64), models=("one", "two"))


def test_the_outputs_table_has_last_and_best_epoch_beside_icl(answers: OutputsStudy) -> None:
    table = answers.table()
    assert {"one, 2 demonstrations", "two, 64 demonstrations"} <= {
        line.split("   ")[0] for line in table.splitlines()
    }
    assert answers.tables["facts"].to_dict("split")["data"] == [
        *(
            ["model", "one, two"],
            ["task", "tone"],
            ["demonstrations", "some shots, seeds 0"],
            ["queries", "8"],
        )
    ]
    (line, *_) = [line for line in table.splitlines() if line.startswith("GD") and " 0.01 " in line]
    assert line.split() == ["GD", "0.01", "20", "40.0", "40.0", "0.40", "0.20", "60.0", "(epoch", "10)"]
    assert "no ICL with 64 demonstrations: they do not fit the context window of two" in table


def test_the_outputs_figures_draw_the_means(answers: OutputsStudy) -> None:
    panels = answers.plot().axes
    assert [axes.get_title().replace("\n", " ") for axes in panels[::3]] == [
        f"{model}, {shots} demonstrations: accuracy over the vocabulary"
        for model in ("one", "two")
        for shots in (2, 64)
    ]
    accuracy, overlap, cosine = panels[:3]
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in accuracy.get_lines()}
    assert drawn["GD, 0.01"] == pytest.approx([60.0, 40.0]) and drawn["ICL"] == pytest.approx([80.0, 80.0])
    assert [axes.get_ylabel() for axes in (overlap, cosine)] == ["token overlap", "OCS (cosine)"]
    whole, _, *others = cast(list[Any], answers.plot("shots").axes)
    assert whole.get_xlabel() == "demonstrations" and len(others) == 2
    heights = {
        container.get_label(): np.asarray(container.lines[0].get_ydata()).tolist()
        for container in whole.containers
    }
    assert heights["GD, 0.01"] == pytest.approx([40.0, 40.0]) and heights["ICL"] == pytest.approx([80.0])
    panel = answers.plot("models").axes[0]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["one", "two"]
    assert png_bytes(answers.plot("shots")).startswith(b"\x89PNG")


def test_an_arm_that_diverged_on_the_first_draw_has_no_pairs_there_and_the_results_stand() -> None:
    logits = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    kept = KeptTokens()
    place = kept.add(top_tokens(torch.log_softmax(logits, dim=1)))
    rows = [outputs_row("ICL", 4, None, None, 0.8, seed=seed, tokens=place) for seed in (0, 1)]
    rows += [
        outputs_row("GD", 4, 5.0, 10, math.nan, seed=0),
        outputs_row("GD", 4, 5.0, 10, 0.4, seed=1, tokens=place),
    ]
    study = outputs_study(rows, {GROUP: kept.arrays()}, seeds=(0, 1), shots=4)
    assert arms_with_pairs(study.tables["rows"]) == () and list(study.figures()) == ["epochs"]
    assert study.pairwise("GD", seeds=(1,)).values.tolist() == [[1.0]]
    assert "GD at 5 (1 of 2 runs)" in study.table()


def test_checkpoints_are_drawn_in_their_order_with_every_label() -> None:
    values = {("b", "b"): 1.0, ("b", "a"): 0.25, ("a", "b"): 0.25, ("a", "a"): 1.0}
    rows = [
        {"arm": "GD", "checkpoint": one, "other": other, "token_overlap": value, "ocs": value / 2}
        for (one, other), value in values.items()
    ]
    figure: Any = outputs_figures.pairs_figure(pandas.DataFrame(rows), measure="ocs", title="GD")
    axes = figure.axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.5, 0.125], [0.125, 0.5]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "a"]
    assert figure.get_suptitle() == "GD: OCS of every two checkpoints"


def test_arms_have_one_colour_everywhere() -> None:
    assert colours_of(["SGD, batch 4", "GD"])["SGD, batch 4"] == NAMED_COLOURS["SGD"]
    assert NAMED_COLOURS["SGD"] == NAMED_COLOURS["shen_sgd"]
    others = colours_of(["GD", "own", "other"])
    assert len(set(others.values())) == 3 and colours_of(["own", "other"]).items() <= others.items()
    arms = ("zero-shot", "ICL", "GD", "SGD", "Adam", "GD, deep layer", "GD, middle layer", "layer-causal")
    assert len({NAMED_COLOURS[arm] for arm in arms}) == len(arms)


def test_a_spread_is_written_as_far_as_it_is_defined() -> None:
    assert spread(np.array([1.0, 3.0])) == ("2", "± 1")
    assert spread(np.array([0.5]), ".1f", 100) == ("50.0",)
    assert spread(np.array([math.nan, 2.0])) == ("2",) and spread(np.array([math.nan])) == ("–",)
