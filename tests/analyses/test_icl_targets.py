"""What recipes that imitate ICL are given: records that are not shown, and what whole prompts in context give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.configuration import CellConfig
from iclprobe.analyses.icl_targets import training_of
from iclprobe.analyses.subject import Subject, load_subject
from iclprobe.errors import UserError
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.recipe import load_recipe, preset
from iclprobe.study.names import LABEL_KL_FINDING, WAY_FINDING

PLAN = CapturePlan(sites=("attention_output",))


@pytest.fixture(scope="module")
def settings(checkpoint: Path, records: Path) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "device": "cpu",
        "limit": 6,
        "shots": 4,
    }


@pytest.fixture(scope="module")
def subject(settings: dict[str, Any]) -> Subject:
    return load_subject(CellConfig(**settings))


def test_targets_are_of_records_that_are_not_shown_and_what_whole_prompts_give(
    subject: Subject, settings: dict[str, Any]
):
    cell = prepare_cell(CellConfig(**settings), subject.model, subject.task, 3)
    shown = {one.ids for one in cell.prompts.training}
    both = [preset(name).model_copy(update={"target_records": 5}) for name in ("match_icl", "distill_icl")]
    (training, inside), (same, said) = (
        training_of(recipe, subject.model, subject.task, cell) for recipe in both
    )
    assert training == same and len(training) == 5
    assert inside is not None and said is not None
    assert not shown & {one.ids for one in training}
    assert inside.attention_output is not None and inside.change is not None and said.logprobs is not None
    context = cell.prompts.icl.prefix_ids
    begin = cell.prompts.zero_shot.prefix_ids
    change = torch.zeros(len(subject.model.parts))
    for place, one in enumerate(training):
        query = one.ids[: one.label_start]
        assert query[: len(begin)] == begin and one.ids[one.label_start :] in one.options
        whole = context + query[len(begin) :]
        icl, zsl = (iclprobe.capture(subject.model, [ids], PLAN).attention_output for ids in (whole, query))
        assert icl is not None and zsl is not None
        torch.testing.assert_close(inside.attention_output[place], icl[0], atol=1e-5, rtol=1e-4)
        change += (icl[0] - zsl[0]).square().sum(-1) / 5
        with torch.no_grad():
            logits = subject.model.module(input_ids=torch.tensor([whole])).logits[0, -1]
        torch.testing.assert_close(said.logprobs[place], logits.log_softmax(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(inside.change, change, rtol=1e-3, atol=1e-7)
    text, nothing = training_of(preset("dai"), subject.model, subject.task, cell)
    assert (text, nothing) == (cell.prompts.training, None)


def test_compare_tells_where_a_recipe_lies_between_what_imitates_answers_and_what_imitates_the_inside(
    settings: dict[str, Any],
):
    brief = {"epochs": 2, "batch_size": 4, "target_records": 8}
    study = iclprobe.compare(
        recipes=(
            {"preset": "dai", "learning_rate": 0.05},
            {"preset": "match_icl", **brief, "learning_rate": 3e-3},
            {"preset": "distill_icl", **brief},
        ),
        seeds=(0, 1),
        null_draws=2,
        resamples=50,
        **settings,
    )
    over = study.tables["over_draws"].set_index(["recipe", "measure"])["mean"]
    found = {(one.name, one.where["recipe"]): one for one in study.findings if one.where.get("recipe")}
    for measure in ("SimAOU", "SimAOU partial"):
        own, low, high = (over[name, measure] for name in ("dai", "distill_icl", "match_icl"))
        way = found[WAY_FINDING.format(measure=measure), "dai"]
        if high > low:
            assert way.value == pytest.approx((own - low) / (high - low), rel=1e-6)
            assert "of the way from distill_icl to match_icl" in way.sentence
        else:
            assert way.value != way.value
    logprobs = study.tables["label_logprobs"]
    for recipe in ("dai", "match_icl", "distill_icl"):
        sums = []
        for _, rows in logprobs[logprobs["recipe"] == recipe].groupby(["seed", "query"]):
            p, q = (
                torch.tensor(
                    rows[rows["setting"] == setting].sort_values("label")["logprob"].to_numpy()
                ).softmax(-1)
                for setting in ("icl", "ft")
            )
            sums.append(float((p * (p / q).log()).sum()))
        assert found[LABEL_KL_FINDING, recipe].value == pytest.approx(sum(sums) / len(sums), rel=1e-6)
    assert "beside imitations of ICL" in str(study)
    losses = study.tables["losses"]
    assert len(losses[(losses["recipe"] == "match_icl") & (losses["seed"] == 0)]) == 4


def test_compare_without_imitations_says_nothing_of_them(settings: dict[str, Any]):
    study = iclprobe.compare(
        recipes=({"preset": "dai", "learning_rate": 0.05},), null_draws=2, resamples=10, **settings
    )
    assert not [one for one in study.findings if one.name == LABEL_KL_FINDING]


def test_imitating_recipes_are_refused_where_they_make_no_sense(settings: dict[str, Any]):
    with pytest.raises(UserError, match="order finetunes on the demonstrations"):
        iclprobe.order(arms=("match_icl",), **settings)
    with pytest.raises(UserError, match="gradients finetunes on the demonstrations"):
        iclprobe.gradients(recipes=("distill_icl",), **settings)
    with pytest.raises(UserError, match="auto chooses a learning rate by held-out labels"):
        iclprobe.compare(recipes=("dai", "match_icl"), learning_rate="auto", **settings)


def test_a_task_without_a_record_to_imitate_on_says_so(subject: Subject, settings: dict[str, Any]):
    all_shown = CellConfig(**{**settings, "shots": len(subject.task.train), "match_demonstrations": False})
    cell = prepare_cell(all_shown, subject.model, subject.task, 0)
    with pytest.raises(UserError, match="to imitate ICL on, as match_icl does"):
        training_of(load_recipe("match_icl"), subject.model, subject.task, cell)
