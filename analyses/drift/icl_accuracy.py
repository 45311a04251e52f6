"""How well one checkpoint learns tasks in context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...hooks.next_token import stream_next_token
from ...models.loading import LanguageModel, load_model
from ...probes import correct_over_labels, correct_over_vocabulary
from ...tasks.catalogue import load_task
from ...tasks.demonstrations import choose_queries, draw_demonstrations
from ...tasks.prompts import PromptSet, build_prompts
from ...tasks.seen_queries import without_seen_queries
from ..weights.checkpoints import Checkpoint


@dataclass(frozen=True)
class IclAccuracy:
    """Accuracy of one checkpoint on one task with one draw of demonstrations.

    Attributes:
        task: The task.
        seed: Of the draw of demonstrations.
        shots: Demonstrations that fitted.
        queries: Queries asked.
        zero_shot: Accuracy over the label set without demonstrations.
        icl: Accuracy over the label set with demonstrations.
        icl_vocabulary: Accuracy over the whole vocabulary with demonstrations (R16).
        chance: One over the number of labels.
    """

    task: str
    seed: int
    shots: int
    queries: int
    zero_shot: float
    icl: float
    icl_vocabulary: float
    chance: float


def icl_accuracy(
    checkpoint: Checkpoint,
    tasks: Sequence[str],
    *,
    shots: int = 8,
    seeds: Sequence[int] = (0, 1, 2),
    limit: int | None = 200,
    data: Any = None,
    device: str = "cpu",
    tokenizer: str | None = None,
    trust_remote_code: bool = False,
) -> Iterator[IclAccuracy]:
    """Run tasks with demonstrations in context at one checkpoint (Shen et al. §3.3).

    Args:
        checkpoint: The checkpoint.
        tasks: Names of tasks.
        shots: Demonstrations of each prompt.
        seeds: One draw of demonstrations for each.
        limit: Queries of each task at most.
        data: Records of the task in place of the hub's, see `read_data`.
        device: Where the model runs.
        tokenizer: Where the tokenizer is, in place of the checkpoint's own.
        trust_remote_code: Run code that comes with the checkpoint or its tokenizer.

    Yields:
        One entry a task and seed.

    Raises:
        UserError: If the model or a task cannot be loaded.
    """
    model = load_model(
        checkpoint.model,
        revision=checkpoint.revision,
        device=device,
        tokenizer=tokenizer,
        trust_remote_code=trust_remote_code,
    )
    for name in tasks:
        task = without_seen_queries(load_task(name, data=data)).task
        chosen = choose_queries(task, limit)
        zero_shots: dict[str, float] = {}
        for seed in seeds:
            prompts = build_prompts(
                model.require_tokenizer(),
                task.template,
                draw_demonstrations(task, shots, seed),
                [task.validation[index] for index in chosen],
                model.context_length,
            )
            # The queries are the same unless one draw leaves less room in the context window.
            digest = prompts.zero_shot.digest()
            if digest not in zero_shots:
                zero_shots[digest], _ = _accuracy(model, prompts.zero_shot)
            icl, vocabulary = _accuracy(model, prompts.icl)
            yield IclAccuracy(
                task.name,
                seed,
                prompts.demonstrations_used,
                prompts.icl.n,
                zero_shots[digest],
                icl,
                vocabulary,
                1 / len(task.label_names),
            )


def _accuracy(model: LanguageModel, prompts: PromptSet) -> tuple[float, float]:
    """Return accuracy over the label set and over the whole vocabulary."""
    gold = torch.tensor(prompts.gold)
    labels = vocabulary = 0
    for indices, said in stream_next_token(model, prompts):
        assert said.label_is_argmax is not None
        labels += int(correct_over_labels(said.prediction, gold[indices]).sum())
        vocabulary += int(correct_over_vocabulary(said.label_is_argmax, gold[indices]).sum())
    return labels / prompts.n, vocabulary / prompts.n
