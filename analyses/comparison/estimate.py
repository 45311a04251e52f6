"""What a comparison will take, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...hooks.assembly import array_shapes
from ...hooks.batching import bytes_per_prompt, choose_batch_size
from ...hooks.prefix import copied_tokens
from ...hooks.resolved_plan import resolve_plan
from ...hooks.storage import lies_on_disk, total_bytes
from ...models.finetuning_memory import delta_bytes, finetuning_bytes
from ...models.loading import LanguageModel
from ...models.parameters import count_parameters, select_parameters
from ...models.rate_search import expected_cost
from ...models.recipe import Recipe
from ...models.token_loss import loss_token_count
from ...tasks.prompt_set import TrainingSequence
from ..cell import Cell
from ..configuration import CellConfig
from .finetuned import comparison_recipe
from .pace import Pace, measure_pace

# Recording makes a forward longer by so much.
_RECORDING = 1.2
# A backward pass costs about twice a forward.
_TRAINING = 3
# In a batch of similar lengths the last tokens stand at about so many places.
_PLACES = 4
# Checking gradients and making a step on a CPU: seconds for each trained number.
_SECONDS_A_NUMBER = {"adam": 8e-9, "adamw": 8e-9, "gd": 2e-9, "sgd": 2e-9}
_DEMONSTRATIONS_A_FORWARD = 8
# Of each query and layer, in float64: similarities, nulls and lengths, in a draw's result and in the tables.
_KEPT_NUMBERS = 2 * 14


@dataclass(frozen=True)
class Estimate:
    """Memory and time of one draw.

    Attributes:
        model_bytes: Weights.
        kept_bytes: What every query leaves, the finetuned tensors of all runs but the last, and of the two
            pretrained captures and the finetuned attention outputs those that are small.
        disk_bytes: Those that are large, on disk while the draw is compared.
        working_bytes: One batch of queries while it runs, beside the finetuned tensors.
        finetuning_bytes: Copies, gradients, the optimiser's states and what a backward pass keeps; never there
            together with a batch of queries.
        seconds: Forwards and training of one draw, from a few timed forwards, without the search.
        search_seconds: The search for a learning rate.
        draws: How many draws.
    """

    model_bytes: int
    kept_bytes: int
    disk_bytes: int
    working_bytes: int
    finetuning_bytes: int
    seconds: float
    search_seconds: float
    draws: int

    @property
    def total_bytes(self) -> int:
        """The most memory that is taken at once."""
        return self.model_bytes + self.kept_bytes + max(self.working_bytes, self.finetuning_bytes)

    def describe(self) -> str:
        """Return one line."""
        work, name = max((self.working_bytes, "work"), (self.finetuning_bytes, "finetuning"))
        each = " a draw" if self.draws > 1 else ""
        search = (
            f", {max(1, round(self.search_seconds))} s of them to choose a learning rate"
            if self.search_seconds
            else ""
        )
        disk = f" and {self.disk_bytes / 1e9:.2f} GB of disk while it runs" if self.disk_bytes else ""
        return (
            f"estimate: {self.total_bytes / 1e9:.2f} GB ({self.model_bytes / 1e9:.2f} model, "
            f"{self.kept_bytes / 1e9:.2f} kept, {work / 1e9:.2f} {name}){disk}, about "
            f"{max(1, round(self.seconds + self.search_seconds))} s{each}{search}"
        )


def estimate_comparisons(
    model: LanguageModel, planned: Sequence[tuple[Cell, Sequence[CellConfig]]]
) -> Estimate:
    """Estimate what comparisons take, from the prompts' lengths, the model's shapes and a few timed forwards.

    Args:
        model: The model.
        planned: For each number of shots the first draw, and the comparisons that are made on it.
    """
    pace = measure_pace(model)
    weights = sum(parameter.nbytes for parameter in model.module.parameters())
    in_memory = on_disk = kept = working = finetuning = deltas = last = 0
    seconds = search = 0.0
    draws = len(planned[0][1][0].seeds)
    for cell, configs in planned:
        prompts = cell.prompts
        queries = [len(ids) for ids in prompts.zero_shot.query_ids]
        past = len(prompts.icl.prefix_ids)
        recorded = _recorded_bytes(configs[0], model, cell)
        in_memory = max(in_memory, sum(size for size, disk in recorded if not disk))
        on_disk = max(on_disk, sum(size for size, disk in recorded if disk))
        kept += draws * len(configs) * kept_of_queries(model, len(queries))
        size = configs[0].batch_size
        if size == "auto":
            size = choose_batch_size(model, max(queries), copied_tokens(model, past))
        # The demonstrations run by themselves before any query does.
        batch = int(size) * bytes_per_prompt(model, max(queries), copied_tokens(model, past))
        batch = max(batch, bytes_per_prompt(model, past, 0))
        # The zero-shot setting is that of the first number of shots.
        runs = len(configs) + 1 + (cell is planned[0][0])
        forward = queries_seconds(pace, queries, int(size))
        seconds += runs * _RECORDING * forward + pace.seconds(1, past, 1)
        for config in configs:
            if config.finetuned:
                # Another model is loaded whole, and what differs in it stays: at most all of it.
                working, finetuning = max(working, batch + weights), max(finetuning, weights)
                continue
            recipe = comparison_recipe(config)
            last = delta_bytes(model, recipe)
            deltas += draws * last
            working = max(working, batch + last)
            trained_on = _trained_on(recipe, cell)
            held = finetuning_bytes(model, recipe, trained_on)
            training = _training_seconds(pace, model, recipe, trained_on)
            if recipe.objective != "text":
                # ICL is recorded on every record that is imitated.
                asked = [sequence.label_start for sequence in trained_on]
                seconds += 2 * _RECORDING * queries_seconds(pace, asked, int(size)) + pace.seconds(1, past, 1)
                held += _target_bytes(model, recipe, len(trained_on))
            along = 0 if recipe.evaluation_epochs is None else recipe.epochs // recipe.evaluation_epochs
            seconds += training + along * forward
            if recipe.learning_rate == "auto":
                cost = expected_cost(recipe, len(prompts.training), config.held_out)
                looked = queries_seconds(
                    pace, [round(sum(queries) / len(queries))] * config.held_out, int(size)
                )
                search += cost.finetunings * training + cost.looks * looked
                held += last if cost.keeps_best or recipe.evaluation_epochs is None else 0
            finetuning = max(finetuning, held)
    return Estimate(
        model_bytes=weights,
        kept_bytes=in_memory + kept + deltas - last,
        disk_bytes=on_disk,
        working_bytes=working,
        finetuning_bytes=finetuning,
        seconds=seconds,
        search_seconds=search,
        draws=draws,
    )


def kept_of_queries(model: LanguageModel, queries: int) -> int:
    """Return the bytes that queries leave in the result of one draw."""
    return queries * len(model.parts) * _KEPT_NUMBERS * 8


def _recorded_bytes(config: CellConfig, model: LanguageModel, cell: Cell) -> list[tuple[int, bool]]:
    """Return the bytes of what is recorded of all queries of a draw, and whether they lie on disk."""
    resolved, prompts = resolve_plan(config.plan, model), cell.prompts
    zero_shot, icl = (array_shapes(resolved, one, 0) for one in (prompts.zero_shot, prompts.icl))
    outputs = {"outputs": zero_shot["attention_output"]}
    sizes = [
        total_bytes(shapes) for shapes in (zero_shot, icl, zero_shot if config.save_captures else outputs)
    ]
    return [(size, config.save_captures or lies_on_disk(size)) for size in sizes]


def queries_seconds(pace: Pace, queries: Sequence[int], size: int) -> float:
    """Return how long queries of so many tokens take once, in batches of a size."""
    return pace.seconds(math.ceil(len(queries) / size), sum(queries), len(queries) * min(size, _PLACES))


def _trained_on(recipe: Recipe, cell: Cell) -> Sequence[TrainingSequence]:
    """Return what a recipe trains on; in place of records that are not shown as many as long as demonstrations."""
    shown = cell.prompts.training
    if recipe.objective == "text":
        return shown
    return [shown[place % len(shown)] for place in range(recipe.target_records)]


def _target_bytes(model: LanguageModel, recipe: Recipe, records: int) -> int:
    """Return the bytes of what is imitated of so many records, in fp32."""
    wide = len(model.parts) * model.width
    if recipe.objective == "distill_icl":
        wide = model.module.config.get_text_config().vocab_size
    return records * wide * 4


def _training_seconds(
    pace: Pace, model: LanguageModel, recipe: Recipe, training: Sequence[TrainingSequence]
) -> float:
    """Return how long one finetuning takes."""
    tokens = sum(len(sequence.ids) for sequence in training)
    logits = sum(loss_token_count(sequence, recipe.loss_tokens) for sequence in training)
    size = min(recipe.batch_size_of(len(training)), _DEMONSTRATIONS_A_FORWARD)
    longest = max(len(sequence.ids) for sequence in training)
    padded = len(training) * longest
    forwards = math.ceil(len(training) / size)
    steps = recipe.steps(len(training))
    numbers = count_parameters(model, select_parameters(model, recipe.parameters, recipe.include_bias))
    updating = 0.0 if model.device.type == "cuda" else steps * numbers * _SECONDS_A_NUMBER[recipe.optimizer]
    share = 1.0 if size == 1 else padded / tokens
    epoch = _TRAINING * pace.seconds(forwards, share * tokens, share * logits)
    # The loss before and after, over all demonstrations at once.
    ends = 2 * pace.seconds(1, padded, padded / tokens * logits)
    return recipe.epochs * epoch + ends + updating
