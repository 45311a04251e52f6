"""One draw of demonstrations: a finetuned setting beside the pretrained ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...hooks.captured import Capture
from ..cell import Cell
from ..configuration import MeasuringConfig
from ..prompt import view_prompt
from ..subject import Subject
from .draw import Draw, FinetunedSetting
from .pretrained import Pretrained
from .reduction import reduce_finetuned
from .rounding import noise_of
from .settings import answers_of, slices_of


def compare_cell(
    config: MeasuringConfig,
    subject: Subject,
    cell: Cell,
    pretrained: Pretrained,
    finetuned: FinetunedSetting,
    batches: Iterator[tuple[Tensor, Capture]],
    outputs: Tensor | None = None,
) -> Draw:
    """Compare a finetuned setting, batch by batch, with the pretrained ones.

    Args:
        config: How they are compared.
        subject: The model, which holds its own weights or the finetuned ones, and the task.
        cell: The draw.
        pretrained: Its zero-shot and in-context setting.
        finetuned: Where the finetuned weights came from.
        batches: The finetuned setting: indices of the queries and their capture.
        outputs: Its attention outputs of all queries, where they are kept anyway.
    """
    task, zero_shot, icl = subject.task, pretrained.zero_shot.capture, pretrained.icl
    gold = torch.tensor(cell.prompts.zero_shot.gold)
    reduced = reduce_finetuned(
        config, batches, zero_shot, icl, gold, pretrained.gaussian, pretrained.floors, cell.seed, outputs
    )
    return Draw(
        seed=cell.seed,
        layers=zero_shot.layers,
        label_names=task.label_names,
        query_indices=tuple(map(task.source_index, cell.queries)),
        queries=tuple(task.template.render(task.validation[index]) for index in cell.queries),
        gold=gold,
        answers={
            "zsl": answers_of(zero_shot, gold),
            "icl": answers_of(icl, gold),
            "ft": reduced.answers,
        },
        sim_aou=reduced.sim_aou,
        nulls=reduced.nulls,
        sim_aou_partial=reduced.sim_aou_partial,
        sim_aou_partial_null=reduced.sim_aou_partial_null,
        sim_am_before=reduced.sim_am_before,
        sim_am_after=reduced.sim_am_after,
        sim_am_delta=reduced.sim_am_delta,
        sim_am_delta_null=reduced.sim_am_delta_null,
        noise=noise_of(pretrained.zero_shot.repeated, reduced.sim_aou),
        finetuned=finetuned,
        demonstrations_used=cell.prompts.demonstrations_used,
        demonstrations_asked=cell.prompts.demonstrations_asked,
        queries_skipped=cell.prompts.queries_skipped,
        records_left_out=subject.left_out,
        seen_queries=subject.seen_queries,
        record_notes=task.notes,
        separator_unknown=cell.prompts.separator_unknown,
        manifest={"zsl": dict(zero_shot.manifest), "icl": dict(icl.manifest)},
        prompt=view_prompt(subject.model, task, cell),
    )


def whole(capture: Capture) -> Iterator[tuple[Tensor, Capture]]:
    """Yield a capture that is there whole, some queries after others."""
    for rows in slices_of(capture):
        indices = torch.arange(rows.start, rows.stop)
        yield indices, capture.select(indices)
