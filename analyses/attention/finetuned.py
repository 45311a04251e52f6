"""How far ICL and finetuning move each head's attention over the tokens of the query, in one draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...hooks.captured import Capture
from ...models.delta import Delta
from ...models.loading import LanguageModel
from ...probes import attention_changes, delta_shared_baseline, sim_am
from ...tasks.task import Task
from ..cell import Cell
from ..comparison.alarms import Outcome
from ..comparison.draw import FinetunedSetting
from ..comparison.finetuned import finetune_cell
from ..comparison.pretrained import record_zero_shot
from ..comparison.reduction import partners_of
from ..comparison.rounding import ChangeFloors, change_floors
from ..comparison.settings import answers_of, capture_setting, stream_finetuned
from .config import AttentionConfig


@dataclass(frozen=True, eq=False)
class FinetunedDraw:
    """What one draw leaves of its queries zero-shot, in context and finetuned; arrays are ``[N, L, H]``.

    Attributes:
        cell: The draw.
        layers: The layers, counted from 0.
        icl: Total variation of the last prompt token's attention over the query's tokens from zero-shot, in context.
        ft: The same, finetuned.
        ft_is_rounding: Where finetuning changed the scores no more than rounding does.
        same: SimAM of the two changes of the scores; NaN where one of them is only rounding.
        same_null: The same with the ICL scores of other queries.
        finetuned: Where the weights came from.
        outcome: What finetuning did to answers and loss.
    """

    cell: Cell
    layers: tuple[int, ...]
    icl: Tensor
    ft: Tensor
    ft_is_rounding: Tensor
    same: Tensor
    same_null: Tensor
    finetuned: FinetunedSetting
    outcome: Outcome


def measure_finetuned(
    config: AttentionConfig, model: LanguageModel, task: Task, cell: Cell
) -> tuple[FinetunedDraw, Delta]:
    """Run the queries of a draw zero-shot, in context and finetuned on its demonstrations.

    Args:
        config: What is asked.
        model: The model; it is left as it was.
        task: The task, whose training records choose a learning rate where that is asked for.
        cell: The draw.

    Raises:
        UserError: If finetuning fails, or a layer has no attention scores.
    """
    compared = config.finetuning()
    prompts = cell.prompts.zero_shot
    recorded = record_zero_shot(compared, model, cell)
    zero_shot = replace(recorded.capture, columns=compared_tokens(recorded.capture))
    icl = capture_setting(compared, model, cell.prompts.icl, "icl", None)
    floors = change_floors(zero_shot, icl, recorded.repeated)
    partners = partners_of(prompts.n, compared.null_draws, cell.seed)
    delta, finetuned = finetune_cell(compared, model, task, cell, recorded.batch_size)
    batched = compared.model_copy(update={"batch_size": recorded.batch_size})
    gold = torch.tensor(prompts.gold)
    parts: list[tuple[Tensor, ...]] = []
    with delta.applied(model):
        for indices, batch in stream_finetuned(batched, model, prompts, "finetuned"):
            answered = answers_of(batch, gold[indices]).prediction
            parts.append((indices, answered, *_changes(zero_shot, icl, batch, indices, floors, partners)))
    indices, prediction, changes_icl, changes_ft, rounding, same, null = (
        torch.cat(each) for each in zip(*parts, strict=True)
    )
    order = indices.argsort()
    before, demonstrated = (answers_of(each, gold) for each in (zero_shot, icl))
    run = finetuned.finetuning
    assert run is not None
    outcome = Outcome(
        source=finetuned.source,
        learning_rate=run.learning_rate,
        first_loss=run.first_loss,
        final_loss=run.final_loss,
        queries=prompts.n,
        changed=int((prediction[order] != before.prediction).sum()),
        zero_shot_right=int(before.correct.sum()),
        icl_right=int(demonstrated.correct.sum()),
    )
    return FinetunedDraw(
        cell=cell,
        layers=zero_shot.layers,
        icl=changes_icl[order],
        ft=changes_ft[order],
        ft_is_rounding=rounding[order],
        same=same[order],
        same_null=null[order],
        finetuned=finetuned,
        outcome=outcome,
    ), delta


def compared_tokens(zero_shot: Capture) -> Tensor:
    """Return which columns of a zero-shot capture are compared, ``[N, Q]``: the query's, less a first token.

    Attention that goes nowhere else goes to a prompt's first token. A begin of sequence is no column; where there is
    none the query's first token is the first of its zero-shot prompt, and not of its in-context one, so that it is
    left out of all settings.
    """
    columns = zero_shot.columns.clone()
    if zero_shot.first_column == 0:
        columns[:, 0] = False
    return columns


def _changes(
    zero_shot: Capture,
    icl: Capture,
    finetuned: Capture,
    indices: Tensor,
    floors: ChangeFloors,
    partners: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return of one batch both total variations, where finetuning's is rounding, SimAM of the changes, its null."""
    assert zero_shot.scores is not None and zero_shot.visible is not None
    assert icl.scores is not None and icl.visible is not None
    assert finetuned.scores is not None and finetuned.visible is not None
    width = finetuned.columns.shape[-1]
    before, demonstrated, in_both = (
        array[indices][..., :width]
        for array in (zero_shot.scores, icl.scores, zero_shot.visible & icl.visible)
    )
    columns, visible = zero_shot.columns[indices][:, :width], in_both & finetuned.visible
    moved = attention_changes(
        before, demonstrated, finetuned.scores, columns, visible=visible, floors=floors.scores
    )
    same = sim_am(
        finetuned.scores,
        demonstrated,
        columns,
        variant="delta",
        zero_shot=before,
        visible=visible,
        floors=floors.scores,
    ).values
    null = torch.full_like(same, torch.nan)
    if partners is not None:
        missing = zero_shot.scores.shape[-1] - width
        null = delta_shared_baseline(
            torch.nn.functional.pad(finetuned.scores, (0, missing)),
            icl.scores,
            zero_shot.columns,
            zero_shot=zero_shot.scores,
            partner=partners,
            examples=indices,
            visible=zero_shot.visible & icl.visible,
            floors=floors.scores,
        ).values
    return moved.icl, moved.ft, moved.ft_is_rounding, same, null
