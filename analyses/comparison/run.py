"""Running comparisons that share a model and a task: the pretrained settings of a draw once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError, shown
from ...hooks.self_check import self_check
from ...models.loading import LanguageModel
from ..cell import Cell, prepare_cell
from ..configuration import CellConfig
from ..context import Context
from ..shared import Shared, model_key, recording_key, zero_shot_key
from ..subject import Subject
from .cell_comparison import compare_cell, whole
from .config import CompareConfig
from .draw import Draw
from .estimate import Estimate, estimate_comparisons
from .finetuned import comparison_recipe, finetune_cell
from .finetuned_elsewhere import FinetunedElsewhere
from .kept import Kept, plan_keeping
from .pretrained import Pretrained, ZeroShot, record_pretrained
from .settings import capture_setting, outputs_of, stream_finetuned


@dataclass(frozen=True)
class ComparisonRun:
    """What came out.

    Attributes:
        configs: What was asked, with the names of what was loaded.
        draws: For each of them, one result a seed.
        self_check: What was found of the model before.
        kept: The attention that is kept to be looked at.
    """

    configs: tuple[CellConfig, ...]
    draws: tuple[tuple[Draw, ...], ...]
    self_check: Mapping[str, Any]
    kept: Kept


def run_comparisons(
    asked: CompareConfig, configs: Sequence[CellConfig], context: Context, folders: Sequence[Path | None]
) -> ComparisonRun:
    """Run comparisons that differ in shots and in what is finetuned, and in nothing else.

    What cannot be compared is refused before any setting runs, as far as prompts and files tell.

    Args:
        asked: What all of them are asked for by.
        configs: The comparisons.
        context: The model and the task.
        folders: Where each keeps its captures.

    Raises:
        UserError: If something cannot be done.
    """
    if any(config.save_captures for config in configs) and None in folders:
        raise UserError("captures are kept in the run directory: give out=DIR (--out DIR) with save_captures")
    subject = context.subject(configs[0])
    configs = [subject.named(config) for config in configs]
    cells = prepare_cells(configs, subject)
    elsewhere = FinetunedElsewhere(subject.model, configs[0].trust_remote_code)
    elsewhere.check(dict.fromkeys(config.finetuned for config in configs if config.finetuned is not None))
    checked = context.shared.once("self-check", model_key(asked), lambda: self_check(subject.model))
    if not checked.held:
        context.say("warning: the self-check failed; see iclprobe check")
    if context.is_heard:
        context.say(estimate_draw(configs, subject, cells).describe())
    kept = Kept(plan_keeping(asked, subject.model, cells, configs), asked.seeds[0])
    if kept.keeping.said:
        context.say(kept.keeping.said)
    draws: list[list[Draw]] = [[] for _ in configs]
    for (shots, seed), cell in cells.items():
        chosen = [index for index, config in enumerate(configs) if config.shots == shots]
        captures = {index: _captures_folder(configs[index], folders[index], seed) for index in chosen}
        pretrained = _pretrained(configs[chosen[0]], subject.model, cell, captures[chosen[0]], context.shared)
        kept.add_pretrained(subject.model, shots, cell, pretrained, chosen, subject.task.label_names)
        for index in chosen:
            with _told_apart(configs, index, seed):
                draws[index].append(
                    _draw(configs[index], subject, cell, pretrained, captures[index], elsewhere, kept, index)
                )
        del pretrained  # Or the next context would be recorded while this one is still in memory.
    return ComparisonRun(
        tuple(configs),
        tuple(map(tuple, draws)),
        checked.to_dict(),
        kept,
    )


def prepare_cells(configs: Sequence[CellConfig], subject: Subject) -> dict[tuple[int, int], Cell]:
    """Prepare every draw, so that one that cannot be made is told before anything runs."""
    by_shots = {config.shots: config for config in configs}
    return {
        (shots, seed): prepare_cell(config, subject.model, subject.task, seed)
        for shots, config in by_shots.items()
        for seed in config.seeds
    }


def estimate_draw(
    configs: Sequence[CellConfig], subject: Subject, cells: Mapping[tuple[int, int], Cell]
) -> Estimate:
    """Estimate what one draw of comparisons takes."""
    seed = configs[0].seeds[0]
    planned = [
        (cell, [config for config in configs if config.shots == shots])
        for (shots, drawn), cell in cells.items()
        if drawn == seed
    ]
    return estimate_comparisons(subject.model, planned)


def _pretrained(
    config: CellConfig, model: LanguageModel, cell: Cell, folder: Path | None, shared: Shared
) -> Pretrained:
    """Record the pretrained settings of a draw, or take those that the run before has recorded in memory."""

    def record() -> Pretrained:
        earlier: ZeroShot | None = shared.last("zero-shot", zero_shot_key(config))
        made = record_pretrained(config, model, cell, earlier=earlier, folder=folder)
        shared.keep("zero-shot", zero_shot_key(config), made.zero_shot)
        return made

    if folder is not None:
        return record()
    prompts = cell.prompts
    key = (recording_key(config), cell.seed, prompts.zero_shot.digest(), prompts.icl.digest())
    return shared.once("pretrained", key, record)


def _draw(
    config: CellConfig,
    subject: Subject,
    cell: Cell,
    pretrained: Pretrained,
    captures: Path | None,
    elsewhere: FinetunedElsewhere,
    kept: Kept,
    place: int,
) -> Draw:
    size = pretrained.zero_shot.batch_size
    if config.finetuned is None:
        delta, finetuned = finetune_cell(config, subject.model, subject.task, cell, size)
    else:
        delta, finetuned = elsewhere.take(config.finetuned)
    batched = config.model_copy(update={"batch_size": size})
    prompts = cell.prompts.zero_shot
    with delta.applied(subject.model):
        outputs = None
        if captures is None:
            batches = stream_finetuned(batched, subject.model, prompts, "ft")
        else:
            pretrained.save(captures)
            recorded = capture_setting(batched, subject.model, prompts, "ft", captures)
            batches, outputs = whole(recorded), outputs_of(recorded)
        watched = kept.watch(cell, batches)
        draw = compare_cell(config, subject, cell, pretrained, finetuned, watched, outputs)
        kept.add_finetuned(subject.model, config.shots, cell, watched, place, finetuned.source)
        return draw


@contextmanager
def _told_apart(configs: Sequence[CellConfig], index: int, seed: int) -> Iterator[None]:
    """Say of an error in one of several comparisons in which it was."""
    try:
        yield
    except UserError as error:
        if len(configs) == 1:
            raise
        config = configs[index]
        if config.finetuned is not None:
            # What cannot be loaded is named already.
            if config.finetuned.model in str(error) or shown(config.finetuned.place) in str(error):
                raise
            raise UserError(f"with {shown(config.finetuned.place)}: {error}") from error
        name = comparison_recipe(config).name
        raise UserError(
            f"with recipe {shown(name)}, {config.shots} shots and seed {seed}: {error}"
        ) from error


def _captures_folder(config: CellConfig, folder: Path | None, seed: int) -> Path | None:
    if not config.save_captures or folder is None:
        return None
    name = "captures" if len(config.seeds) == 1 else f"captures/seed{seed}"
    captures = folder / name
    captures.mkdir(parents=True)
    return captures
