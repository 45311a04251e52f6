"""The learning rate is chosen by held-out labels and by nothing else."""

from __future__ import annotations

import math

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, one_by_one_nll, sequences, snapshot

from iclprobe.errors import UserError
from iclprobe.models.finetuning import finetune
from iclprobe.models.learning_rate import CANDIDATES, LearningRateChoice, choose_learning_rate
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import Recipe, preset
from iclprobe.tasks.prompt_set import TrainingSequence


def _model() -> LanguageModel:
    return load_model(tiny_families.fresh("llama"))


def _literal_nll(model: LanguageModel, held_out: list[TrainingSequence]) -> float:
    with torch.no_grad():
        parts = [one_by_one_nll(model.module, [sequence], "label") for sequence in held_out]
    return sum(float(total) / count for total, count in parts) / len(parts)


def _similar(training: list[TrainingSequence]) -> list[TrainingSequence]:
    """Held-out records with the same labels after slightly other inputs, so that training on some helps others."""
    return [
        TrainingSequence((sequence.ids[0] + 1, *sequence.ids[1:]), sequence.label_start)
        for sequence in training
    ]


def test_the_candidates_are_one_and_three_of_every_power_of_ten():
    by_hand = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]
    assert pytest.approx(by_hand, rel=1e-12) == list(CANDIDATES)


@pytest.mark.parametrize("helpful", [True, False])
def test_the_chosen_rate_makes_held_out_labels_likeliest(helpful: bool):
    model, training = _model(), sequences(4)
    held_out = _similar(training) if helpful else sequences(4, seed=5)
    recipe = preset("dai")
    before = snapshot(model.module)
    rates = (1e-3, 1e-1, 1.0)
    choice = choose_learning_rate(model, training, held_out, recipe, 0, rates)
    assert_as_it_was(model.module, before)
    literal = []
    for rate in rates:
        with finetune(model, training, recipe, learning_rate=rate, seed=0).delta.applied(model):
            literal.append(_literal_nll(model, held_out))
    assert choice.candidates == rates
    assert choice.held_out_nll == pytest.approx(literal, rel=1e-5)
    assert choice.baseline_nll == pytest.approx(_literal_nll(model, held_out), rel=1e-5)
    assert choice.chosen == rates[literal.index(min(literal))]
    assert choice.chosen_nll == min(choice.held_out_nll)


def test_finetuning_that_helps_is_recognised():
    training = sequences(4)
    choice = choose_learning_rate(_model(), training, _similar(training), preset("dai"), 0, (1e-5, 0.1))
    assert choice.chosen == 0.1
    assert choice.improves


def test_rates_that_diverge_are_infinite_and_skipped():
    model, training = _model(), sequences(3)
    recipe = Recipe(optimizer="gd", epochs=5, parameters="all")
    before = snapshot(model.module)
    told: list[tuple[int, int, float | None]] = []
    choice = choose_learning_rate(
        model,
        training,
        sequences(3, seed=1),
        recipe,
        0,
        (1e-4, 1e30),
        lambda *candidate: told.append(candidate),
    )
    assert (choice.chosen, choice.held_out_nll[1]) == (1e-4, math.inf)
    assert "1 diverged" in choice.describe()
    assert (told[0], told[-1]) == ((0, 2, None), (2, 2, 1e-4))
    assert_as_it_was(model.module, before)


def test_it_is_an_error_if_every_rate_diverges():
    model = _model()
    before = snapshot(model.module)
    recipe = Recipe(optimizer="gd", epochs=5, parameters="all")
    with pytest.raises(UserError, match=r"every learning rate from 1e\+20 to 1e\+30: try smaller ones"):
        choose_learning_rate(model, sequences(3), sequences(3, seed=1), recipe, 0, (1e20, 1e30))
    assert_as_it_was(model.module, before)


def test_other_mistakes_are_not_taken_for_divergence():
    with pytest.raises(UserError, match="select nothing"):
        choose_learning_rate(_model(), sequences(2), sequences(2), Recipe(parameters="nowhere"), 0)
    with pytest.raises(UserError, match="there are none"):
        choose_learning_rate(_model(), sequences(2), [], preset("dai"), 0)
    with pytest.raises(UserError, match="at least one candidate"):
        choose_learning_rate(_model(), sequences(2), sequences(2), preset("dai"), 0, ())
    broken = _model()
    broken.module.get_parameter("model.norm.weight").data.fill_(torch.nan)
    with pytest.raises(UserError, match="impossible before finetuning"):
        choose_learning_rate(broken, sequences(2), sequences(2), preset("dai"), 0)


def test_the_choice_is_told_in_one_line():
    choice = LearningRateChoice((0.001, 0.01, 0.1), (1.2, 0.75, math.inf), 1.5, 0.01)
    assert choice.describe() == (
        "learning rate 0.01, chosen of 3 from 0.001 to 0.1: held-out label NLL 0.750, 1.500 before finetuning; "
        "1 diverged"
    )
    edge = LearningRateChoice((0.001, 0.01), (1.2, 0.75), 0.5, 0.01)
    assert edge.describe().endswith(
        "it is at the edge of what was tried; no rate improved on the model before finetuning"
    )
    with pytest.raises(ValueError, match="every candidate"):
        LearningRateChoice((0.001,), (1.2,), 1.5, 0.01)
