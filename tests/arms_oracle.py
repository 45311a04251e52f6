"""Studies of arms taken literally: one prompt at a time, full forwards, every distribution kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import torch
from tiny_checkpoint import TEMPLATE

from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import LanguageModel
from iclprobe.models.recipe import load_recipe
from iclprobe.seeds import derive_seed
from iclprobe.study.study import Study
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.demonstrations import choose_queries, draw_demonstrations
from iclprobe.tasks.prompts import PromptSet, TaskPrompts, build_prompts
from iclprobe.tasks.task import Task


def settings(checkpoint: Path, records: Path) -> dict[str, Any]:
    """Return the options of a study of the tiny model on the tiny records."""
    return {
        "model": str(checkpoint),
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "device": "cpu",
    }


def tiny_task(records: Path) -> Task:
    return load_task(
        "tone",
        template=TEMPLATE,
        label_words=("bad", "good"),
        separator="<end-of-sequence>",
        data=str(records),
    )


def single_token_task(records: Path) -> Task:
    """Return the task with label words of one token, behind which nothing of a query is needed again."""
    task = tiny_task(records)
    template = replace(task.template, query="Sentence: {text} Label: ", label_prefix="")
    return replace(task, template=template)


def prompts_in_order(
    model: LanguageModel, task: Task, shots: int, seed: int, order: Sequence[int], limit: int
) -> TaskPrompts:
    demonstrations = draw_demonstrations(task, shots, seed)
    queries = [task.validation[index] for index in choose_queries(task, limit)]
    shown = [demonstrations[place] for place in order]
    return build_prompts(model.require_tokenizer(), task.template, shown, queries, model.context_length)


@dataclass(frozen=True)
class Literal:
    """What was said behind N full prompts, run one by one.

    Attributes:
        probabilities: ``[N, V]``.
        right_labels: Whether the label option of the highest mean log-probability is right, ``[N]``.
        right_vocabulary: Whether every token of the right option is the argmax, ``[N]``.
    """

    probabilities: np.ndarray
    right_labels: np.ndarray
    right_vocabulary: np.ndarray


def literal(model: LanguageModel, prompts: PromptSet) -> Literal:
    found, labels, vocabulary = [], [], []
    for query, options, gold in zip(prompts.query_ids, prompts.label_ids, prompts.gold, strict=True):
        prompt = list(prompts.prefix_ids + query)
        with torch.no_grad():
            logits = model.module(torch.tensor([prompt])).logits[0, -1].double()
        found.append(torch.softmax(logits, -1).numpy())
        scores = [_label(model, prompt, list(option)) for option in options]
        labels.append(int(np.argmax([score for score, _ in scores])) == gold)
        vocabulary.append(scores[gold][1])
    return Literal(np.array(found), np.array(labels), np.array(vocabulary))


def _label(model: LanguageModel, prompt: list[int], option: list[int]) -> tuple[float, bool]:
    with torch.no_grad():
        logits = model.module(torch.tensor([prompt + option])).logits[0, len(prompt) - 1 : -1].double()
    logprobs = torch.log_softmax(logits, -1)
    mean = float(np.mean([float(logprobs[step, token]) for step, token in enumerate(option)]))
    return mean, logits.argmax(-1).tolist() == option


def literal_finetuned(
    model: LanguageModel, prompts: TaskPrompts, recipe: Any, rate: float, seed: int
) -> dict[int, Literal]:
    """Return what is said zero-shot after each evaluated epoch of one finetuning run."""
    found: dict[int, Literal] = {}

    def evaluate(epoch: int) -> None:
        found[epoch] = literal(model, prompts.zero_shot)

    finetune(
        model,
        prompts.training,
        load_recipe(recipe),
        learning_rate=rate,
        seed=derive_seed("finetune", seed),
        evaluate=evaluate,
    )
    return found


def rows_of(study: Study, arm: str | None = None, **fields: Any) -> list[SimpleNamespace]:
    """Return the rows of an arm, or of all, that have these values; a missing integer is None."""
    rows = [
        SimpleNamespace(**{str(name): None if value is pandas.NA else value for name, value in row.items()})
        for row in study.tables["rows"].to_dict("records")
    ]
    return [
        row
        for row in rows
        if arm in (None, row.arm) and all(getattr(row, name) == value for name, value in fields.items())
    ]
