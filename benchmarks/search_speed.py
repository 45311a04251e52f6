"""What a search for a learning rate takes beside trying every candidate to its end, and beside one finetuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iclprobe import LanguageModel, finetune, load_recipe
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.configuration import CellConfig
from iclprobe.analyses.subject import load_subject
from iclprobe.models.learning_rate import CANDIDATES, choose_learning_rate
from iclprobe.models.recipe import Recipe
from iclprobe.models.token_loss import label_nll
from iclprobe.seeds import derive_seed
from iclprobe.tasks.demonstrations import held_out_records
from iclprobe.tasks.prompt_set import TrainingSequence
from iclprobe.tasks.prompts import training_sequences

from .measure import compare_pairs, ratio_to_dict
from .options import Options

HELD_OUT = 64
RECIPES = {"dai": 1, "barnatan_lcft": 1, "shen": 60}


def run(options: Options) -> dict[str, Any]:
    config = CellConfig()
    subject = load_subject(config, None, None)
    model, cell = subject.model, prepare_cell(config, subject.model, subject.task, 0)
    records = held_out_records(subject.task, cell.demonstrations, HELD_OUT, derive_seed("held out", 0))
    held_out = training_sequences(
        model.require_tokenizer(), subject.task.template, records, context_length=model.context_length
    )
    training = cell.prompts.training
    results = {}
    for name, epochs in RECIPES.items():
        recipe = load_recipe({"preset": name, "epochs": epochs})
        chosen = choose_learning_rate(model, training, held_out, recipe, 0)

        def search(recipe: Recipe = recipe) -> object:
            return choose_learning_rate(model, training, held_out, recipe, 0)

        def every(recipe: Recipe = recipe) -> object:
            return _every_candidate(model, training, held_out, recipe)

        def one(recipe: Recipe = recipe, rate: float = chosen.chosen) -> object:
            return finetune(model, training, recipe, learning_rate=rate, seed=0)

        results[f"{name}, {epochs} epochs"] = {
            "tried": f"{len(chosen.candidates)} of {len(CANDIDATES)}, {len(chosen.stopped_early)} stopped early",
            "search / every candidate": ratio_to_dict(compare_pairs(search, every, options.pairs)),
            "search / one finetuning": ratio_to_dict(compare_pairs(search, one, options.pairs)),
        }
    return {"procedure": f"the embedded model, 8 demonstrations, {HELD_OUT} held-out records", **results}


def _every_candidate(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    held_out: Sequence[TrainingSequence],
    recipe: Recipe,
) -> list[float]:
    """Finetune with every candidate and look at every held-out record; one that diverges has no value."""
    from iclprobe.models.stepper import FinetuningDiverged

    values = [label_nll(model, held_out)]
    for rate in CANDIDATES:
        try:
            done = finetune(model, training, recipe, learning_rate=rate, seed=0)
        except FinetuningDiverged:
            continue
        with done.delta.applied(model):
            values.append(label_nll(model, held_out))
    return values
