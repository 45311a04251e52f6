"""The search for a learning rate finds what trying every candidate to the end finds, for less."""

from __future__ import annotations

import math
from functools import cache

import pytest
from model_snapshot import assert_as_it_was, snapshot

from iclprobe.analyses.cell import Cell, prepare_cell
from iclprobe.analyses.configuration import SubjectConfig
from iclprobe.analyses.subject import Subject, load_subject
from iclprobe.models.finetuning import finetune
from iclprobe.models.learning_rate import CANDIDATES, LearningRateChoice, choose_learning_rate
from iclprobe.models.rate_trial import Trial, lead
from iclprobe.models.recipe import Recipe, load_recipe
from iclprobe.models.stepper import FinetuningDiverged
from iclprobe.models.token_loss import label_nll
from iclprobe.seeds import derive_seed
from iclprobe.tasks.demonstrations import held_out_records
from iclprobe.tasks.pocket import POCKET_TASKS
from iclprobe.tasks.prompt_set import TrainingSequence
from iclprobe.tasks.prompts import training_sequences


@cache
def subject(task: str) -> Subject:
    return load_subject(SubjectConfig(task=task), None, None)


def draw(task: str, seed: int) -> tuple[Subject, Cell, list[TrainingSequence]]:
    """The demonstrations of a draw and the records that a comparison would hold out."""
    asked = subject(task)
    cell = prepare_cell(SubjectConfig(task=task, limit=1), asked.model, asked.task, seed)
    records = held_out_records(asked.task, cell.demonstrations, 64, derive_seed("held out", seed))
    tokenizer = asked.model.require_tokenizer()
    return (
        asked,
        cell,
        list(
            training_sequences(
                tokenizer, asked.task.template, records, context_length=asked.model.context_length
            )
        ),
    )


def recipe_of(name: str, epochs: int) -> Recipe:
    return load_recipe({"preset": name, "epochs": epochs})


def exhaustive(task: str, seed: int, recipe: Recipe) -> list[float]:
    """The held-out NLL after finetuning with every candidate to the end, one after another."""
    asked, cell, held_out = draw(task, seed)
    values = []
    for rate in CANDIDATES:
        try:
            done = finetune(
                asked.model,
                cell.prompts.training,
                recipe,
                learning_rate=rate,
                seed=derive_seed("finetune", seed),
            )
        except FinetuningDiverged:
            values.append(math.inf)
            continue
        with done.delta.applied(asked.model):
            value = label_nll(asked.model, held_out)
        values.append(value if math.isfinite(value) else math.inf)
    return values


def searched(task: str, seed: int, recipe: Recipe) -> LearningRateChoice:
    asked, cell, held_out = draw(task, seed)
    before = snapshot(asked.model.module)
    choice = choose_learning_rate(
        asked.model, cell.prompts.training, held_out, recipe, derive_seed("finetune", seed)
    )
    assert_as_it_was(asked.model.module, before)
    return choice


def assert_as_good(choice: LearningRateChoice, values: list[float]) -> None:
    """The same rate or its neighbour, and the same numbers wherever a candidate was looked at to the end."""
    assert abs(CANDIDATES.index(choice.chosen) - values.index(min(values))) <= 1
    assert choice.offered == CANDIDATES
    for rate, nll in zip(choice.candidates, choice.held_out_nll, strict=True):
        whole = values[CANDIDATES.index(rate)]
        assert math.isnan(nll) or nll == whole or nll == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("task", POCKET_TASKS)
def test_it_chooses_what_trying_every_candidate_chooses(task: str) -> None:
    recipe = recipe_of("dai", 1)
    choice = searched(task, 0, recipe)
    assert_as_good(choice, exhaustive(task, 0, recipe))
    assert len(choice.candidates) < len(CANDIDATES)


def test_several_epochs_are_searched_from_large_rates_to_small_ones() -> None:
    recipe = recipe_of("shen", 5)
    choice = searched("pocket-topic", 0, recipe)
    assert_as_good(choice, exhaustive("pocket-topic", 0, recipe))
    # A rate that went down smoothly has passed where smaller ones end.
    assert min(choice.candidates) > 1e-3


RECIPES = (("dai", 1), ("barnatan_lcft", 1), ("shen", 5), ("shen", 20), ("shen_sgd", 4), ("shen_adam", 5))


# Every task and every recipe once: trying each candidate to the end is what takes long.
@pytest.mark.slow
@pytest.mark.parametrize(("task", "asked"), zip(POCKET_TASKS, RECIPES, strict=True))
def test_it_chooses_the_same_rate_on_every_pocket_task(task: str, asked: tuple[str, int]) -> None:
    name, epochs = asked
    recipe = recipe_of(name, epochs)
    choice = searched(task, 1, recipe)
    assert_as_good(choice, exhaustive(task, 1, recipe))


def test_a_long_finetuning_that_is_not_getting_anywhere_is_stopped_early() -> None:
    asked, cell, held_out = draw("pocket-topic-code", 0)
    steps: dict[float, int] = {}
    told: list[tuple[int, int, float | None]] = []

    def progress(tried: int, offered: int, best: float | None) -> None:
        told.append((tried, offered, best))
        steps[tried] = steps.get(tried, 0) + 1

    recipe = recipe_of("shen", 60)
    choice = choose_learning_rate(
        asked.model, cell.prompts.training, held_out, recipe, derive_seed("finetune", 0), progress=progress
    )
    assert choice.stopped_early and choice.chosen not in choice.stopped_early
    # All candidates together take less than three of the eleven finetunings that there are to choose from.
    assert sum(steps.values()) < 3 * 60
    assert told[-1] == (len(choice.candidates), len(CANDIDATES), choice.chosen)


def test_what_a_larger_rate_has_passed_tells_where_a_smaller_one_ends() -> None:
    trial = Trial(0.1, steps_an_epoch=2)
    trial.losses = [4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 2.5, 2.5]
    trial.seen = {1: [1.5, 2.5], 2: [1.0, 1.0], 3: [5.0, 5.0]}
    before = [3.0, 3.0, 9.0]
    assert trial.epoch_losses == [4.0, 3.0, 2.0, 2.5]
    assert trial.smooth_epochs == 2
    assert trial.predicts(0.02, 10, before) == (1.0, 2)
    assert trial.predicts(0.01, 10, before) == (2.0, 2)
    # Half an epoch is half of the way from 3 to 2.
    assert trial.predicts(0.005, 10, before) == (2.5, 2)
    # The loss rose before the third epoch was over: there the steps do not follow the gradient.
    assert trial.predicts(0.03, 10, before) is None
    # Later epochs do not stand in for the first.
    del trial.seen[1]
    assert trial.predicts(0.005, 10, before) is None


def test_a_first_epoch_that_made_things_worse_tells_nothing_of_smaller_rates() -> None:
    trial = Trial(0.1, steps_an_epoch=2, first_loss=4.0)
    trial.losses = [4.0, 12.0, 7.0, 7.0, 6.0, 6.0]
    trial.seen = {1: [8.0]}
    assert trial.epoch_losses == [8.0, 7.0, 6.0]
    assert trial.predicts(0.02, 10, [3.0]) is None


def test_the_lead_is_paired() -> None:
    gap, error = lead([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert gap == 2.0
    assert error == pytest.approx(1.0 / math.sqrt(3))
    assert lead([1.0], [2.0])[1] == math.inf


def test_what_was_stopped_is_not_taken_for_a_value() -> None:
    choice = LearningRateChoice(
        (0.01, 0.1, 1.0), (0.5, math.nan, math.inf), 0.75, 0.01, (0.001, 0.01, 0.1, 1.0)
    )
    assert (choice.stopped_early, choice.diverged) == ((0.1,), (1.0,))
    assert choice.describe() == (
        "learning rate 0.01, chosen of 4 from 0.001 to 1: held-out label NLL 0.500, 0.750 before finetuning; "
        "3 tried; 1 stopped early; 1 diverged"
    )
    with pytest.raises(ValueError, match="no held-out value"):
        LearningRateChoice((0.01, 0.1), (0.5, math.nan), 0.75, 0.1)
