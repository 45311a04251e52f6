"""What in-context learning gives on training records that are not shown, for recipes that imitate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UserError
from ..hooks.capture import capture
from ..hooks.next_token import stream_next_token
from ..hooks.plan import CapturePlan
from ..models.icl_targets import IclTargets
from ..models.loading import LanguageModel
from ..models.recipe import Recipe
from ..seeds import derive_seed
from ..tasks.demonstrations import held_out_records
from ..tasks.prompt_set import PromptSet, TrainingSequence
from ..tasks.prompts import build_prompts
from ..tasks.task import Task
from .cell import Cell

_PLAN = CapturePlan(sites=("attention_output",))


def training_of(
    recipe: Recipe, model: LanguageModel, task: Task, cell: Cell, batch_size: int | str = "auto"
) -> tuple[tuple[TrainingSequence, ...], IclTargets | None]:
    """Return what a recipe trains on in one draw: the demonstrations, or records on which it imitates ICL.

    Args:
        recipe: How to finetune.
        model: The pretrained model, which is the one in context too.
        task: The task, whose training records are imitated on; none of them is a demonstration.
        cell: The draw.
        batch_size: Prompts at once where ICL is recorded.

    Raises:
        UserError: If there is no record to imitate on.
    """
    if recipe.objective == "text":
        return cell.prompts.training, None
    zero_shot, icl = _unshown_prompts(recipe, model, task, cell)
    sequences = tuple(
        TrainingSequence(
            zero_shot.prefix_ids + ids + options[gold], len(zero_shot.prefix_ids) + len(ids), options
        )
        for ids, options, gold in zip(zero_shot.query_ids, zero_shot.label_ids, zero_shot.gold, strict=True)
    )
    if recipe.objective == "distill_icl":
        return sequences, IclTargets(sequences, logprobs=_answers(model, icl, batch_size))
    before, after = (_outputs(model, prompts, batch_size) for prompts in (zero_shot, icl))
    change = (after - before).double().square().sum(-1).mean(0).float()
    return sequences, IclTargets(sequences, attention_output=after, change=change)


def _unshown_prompts(
    recipe: Recipe, model: LanguageModel, task: Task, cell: Cell
) -> tuple[PromptSet, PromptSet]:
    """Return training records that are no demonstrations, asked zero-shot and behind the draw's demonstrations."""
    records = held_out_records(
        task,
        cell.demonstrations,
        recipe.target_records,
        derive_seed("icl targets", cell.seed),
        f"to imitate ICL on, as {recipe.objective} does: give more records, or ask for fewer shots",
    )
    context, prefix = model.context_length, cell.prompts.icl.prefix_ids
    asked = build_prompts(model.require_tokenizer(), task.template, (), records, context).zero_shot
    fitting = [
        place
        for place, ids in enumerate(asked.query_ids)
        if context is None or len(prefix) + len(ids) <= context
    ]
    if not fitting:
        raise UserError(
            f"no training record fits behind {len(prefix)} tokens of demonstrations into a context of {context}: ask "
            "for fewer shots, or leave long records out (--max-record-tokens)"
        )
    zero_shot = _some(asked, fitting)
    icl = replace(zero_shot, prefix_ids=prefix, prefix_spans=cell.prompts.icl.prefix_spans)
    return zero_shot, icl


def _some(prompts: PromptSet, places: Sequence[int]) -> PromptSet:
    return replace(
        prompts,
        query_ids=tuple(prompts.query_ids[place] for place in places),
        label_ids=tuple(prompts.label_ids[place] for place in places),
        gold=tuple(prompts.gold[place] for place in places),
        query_spans=tuple(prompts.query_spans[place] for place in places),
    )


def _outputs(model: LanguageModel, prompts: PromptSet, batch_size: int | str) -> Tensor:
    outputs = capture(model, prompts, _PLAN, batch_size=batch_size, top_k=1, scoring="first").attention_output
    assert outputs is not None
    return outputs.float()


def _answers(model: LanguageModel, prompts: PromptSet, batch_size: int | str) -> Tensor:
    rows: dict[int, Tensor] = {}
    for indices, said in stream_next_token(model, prompts, batch_size=batch_size, scoring="first"):
        rows.update(zip(indices.tolist(), said.logprobs.cpu(), strict=True))
    return torch.stack([rows[place] for place in range(prompts.n)])
