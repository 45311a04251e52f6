"""What one draw leaves of the MLPs' inputs, zero-shot and in context, and of finetuning's change of their maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...hooks.capture import capture
from ...hooks.captured import Capture
from ...hooks.first_maps import FirstMaps, first_maps
from ...hooks.plan import CapturePlan, Site
from ...models.loading import LanguageModel
from ...probes import Floors, ImplicitUpdates, SharedUpdate, implicit_updates, shared_update
from ...probes.update_parts import halves
from ...seeds import derive_seed
from ...tasks.task import Task
from ..cell import Cell
from ..comparison.alarms import Outcome
from ..comparison.draw import Answers, FinetunedSetting, Setting
from ..comparison.finetuned import batch_size_for, finetune_cell
from ..comparison.settings import answers_of
from ..finetuned_rows import outcome_of
from .config import ImplicitUpdateConfig


@dataclass(frozen=True, eq=False)
class LayerUpdates:
    """The implicit updates of one layer.

    Attributes:
        maps: The first maps of its MLP.
        updates: One rank-one update of them for each query.
        shared: What one update for all says of each query's W Δa, fitted on the other half of the queries.
        skip: What one map from the MLP's input says of the change of what the MLP's output is added to; None where
            attention and MLP read one stream.
        length: Of each update relative to the weights, ``[N]``.
        finetuned: What finetuning added to the maps, ``[m, d]``; None where it left them alone.
    """

    maps: FirstMaps
    updates: ImplicitUpdates
    shared: SharedUpdate
    skip: SharedUpdate | None
    length: Tensor
    finetuned: Tensor | None


@dataclass(frozen=True, eq=False)
class ImplicitDraw:
    """What one draw leaves.

    Attributes:
        cell: The draw.
        layers: Each layer's updates.
        zero_shot: What was recorded zero-shot: streams and MLP inputs at the last token, label scores.
        icl: The same in context.
        half: Which half each query belongs to, ``[N]``.
        answers: What each setting answered.
        setting: Where the finetuned weights came from.
        outcome: What finetuning did to answers and loss.
    """

    cell: Cell
    layers: tuple[LayerUpdates, ...]
    zero_shot: Capture
    icl: Capture
    half: Tensor
    answers: dict[Setting, Answers]
    setting: FinetunedSetting
    outcome: Outcome


def has_middle(model: LanguageModel) -> bool:
    """Tell whether there is a stream between attention and MLP, which the skip path is."""
    return all(part.before_mlp is not None for part in model.parts)


def draw_updates(config: ImplicitUpdateConfig, model: LanguageModel, task: Task, cell: Cell) -> ImplicitDraw:
    """Run the queries of a draw zero-shot, in context and finetuned, and make the updates of every layer.

    Args:
        config: What is asked.
        model: The model; it is left as it was.
        task: The task, whose training records choose a learning rate where that is asked for.
        cell: The draw.

    Raises:
        UserError: If the MLPs are not dense, there are fewer than eight queries, finetuning fails, or what the model
            computes is no number.
    """
    maps, prompts = first_maps(model), cell.prompts
    if prompts.zero_shot.n < 8:
        raise UserError(
            f"{prompts.zero_shot.n} queries are too few to fit one update on a half and judge it on the other: "
            "ask at least 8 (--limit)"
        )
    compared = config.finetuning()
    size = batch_size_for(config, model, prompts.zero_shot)
    delta, setting = finetune_cell(compared, model, task, cell, size)
    sites: tuple[Site, ...] = ("mlp_input", "residual")
    if has_middle(model):
        sites = (*sites, "residual_middle")
    options = {"batch_size": size, "scoring": config.scoring}
    recorded = {
        name: capture(model, each, CapturePlan(sites=sites), setting=name, progress=name, **options)
        for name, each in (("zsl", prompts.zero_shot), ("icl", prompts.icl))
    }
    before = [each.weight() for each in maps]
    with delta.applied(model):
        after = [each.weight() for each in maps]
        finetuned = capture(model, prompts.zero_shot, CapturePlan(sites=("mlp_input",)), **options)
    gold = torch.tensor(prompts.zero_shot.gold)
    answers: dict[Setting, Answers] = {
        "zsl": answers_of(recorded["zsl"], gold),
        "icl": answers_of(recorded["icl"], gold),
        "ft": answers_of(finetuned, gold),
    }
    half = halves(prompts.zero_shot.n, derive_seed("halves", cell.seed))
    moved = len(prompts.icl.prefix_ids) != len(prompts.zero_shot.prefix_ids)
    floor = float(torch.as_tensor(Floors.of(model.dtype, prompts.icl.longest if moved else 0).icl))
    layers = []
    for place, each in enumerate(maps):
        changed = after[place] - before[place]
        layers.append(_layer(model, cell, each, before[place], recorded, place, half, floor, changed))
    outcome = outcome_of(setting, answers)
    return ImplicitDraw(
        cell, tuple(layers), recorded["zsl"], recorded["icl"], half, answers, setting, outcome
    )


def _layer(
    model: LanguageModel,
    cell: Cell,
    maps: FirstMaps,
    weight: Tensor,
    recorded: dict[str, Capture],
    place: int,
    half: Tensor,
    floor: float,
    changed: Tensor,
) -> LayerUpdates:
    before, after = (_site(recorded[name], "mlp_input", place) for name in ("zsl", "icl"))
    if not bool(before.isfinite().all() and after.isfinite().all()):
        raise UserError(
            f"the MLP inputs of layer {maps.layer} of {shown(model.name)} are NaN or infinite: load it with "
            "dtype=float32"
        )
    updates = implicit_updates(weight, before, after, floor=floor)
    seed = derive_seed("shared update", cell.seed)
    skip = None
    if recorded["icl"].residual_middle is not None:
        middle = [_site(recorded[name], "residual_middle", place).double() for name in ("zsl", "icl")]
        skip = shared_update(updates.inputs, middle[1] - middle[0], half, seed=seed)
    return LayerUpdates(
        maps,
        updates,
        shared_update(updates.inputs, updates.outputs, half, seed=seed),
        skip,
        updates.lengths / float(torch.linalg.matrix_norm(weight.double())),
        changed if bool((changed != 0).any()) else None,
    )


def _site(recorded: Capture, site: Site, place: int) -> Tensor:
    array = recorded.arrays()[site]
    return array[:, place]
