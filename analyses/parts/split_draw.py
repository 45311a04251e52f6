"""The attention outputs of one draw between which both updates are divided: five runs of the same queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...hooks.capture import capture, stream
from ...hooks.captured import Capture
from ...hooks.given_inputs import outputs_on_inputs, require_one_stream
from ...hooks.plan import CapturePlan
from ...hooks.storage import scratch_zeros
from ...models.loading import LanguageModel
from ...probes import Floors, SplitOutputs, noise_floor
from ...tasks.prompt_set import PromptSet
from ...tasks.task import Task
from ..cell import Cell
from ..comparison.alarms import Outcome
from ..comparison.draw import Answers, FinetunedSetting, Setting
from ..comparison.finetuned import batch_size_for, finetune_cell
from ..comparison.settings import answers_of, outputs_of
from ..finetuned_rows import outcome_of
from .config import PartsConfig

_LAST = CapturePlan(sites=("attention_output",))
_LAST_AND_INPUT = CapturePlan(sites=("attention_output", "residual_before"))
_REPEATED_QUERIES = 32
# Inputs of all layers at all tokens of a batch, and the attention outputs that are recorded beside them.
_INPUT_BYTES = 512 << 20


@dataclass(frozen=True, eq=False)
class SplitDraw:
    """What one draw leaves.

    Attributes:
        cell: The draw.
        layers: The layers, counted from 0.
        icl: Outputs between which ICL's update is divided.
        finetuned: The same of finetuning's.
        answers: What each setting answered.
        setting: Where the finetuned weights came from.
        outcome: What finetuning did to answers and loss.
        holds_positions: Whether tokens enter the first layer otherwise at later positions, as where positions
            are added to the residual stream.
    """

    cell: Cell
    layers: tuple[int, ...]
    icl: SplitOutputs
    finetuned: SplitOutputs
    answers: dict[Setting, Answers]
    setting: FinetunedSetting
    outcome: Outcome
    holds_positions: bool


def split_draw(config: PartsConfig, model: LanguageModel, task: Task, cell: Cell) -> SplitDraw:
    """Run the queries of a draw zero-shot, in context, finetuned, and on the inputs that layers then have.

    Args:
        config: What is asked.
        model: The model; it is left as it was.
        task: The task, whose training records choose a learning rate where that is asked for.
        cell: The draw.

    Raises:
        UserError: If the layers' inputs cannot be replaced, finetuning fails, or an output is no number.
    """
    require_one_stream(model)
    prompts, compared = cell.prompts, config.finetuning()
    size = parts_batch_size(config, model, prompts.zero_shot)
    delta, setting = finetune_cell(compared, model, task, cell, size)
    layers = tuple(part.index for part in model.parts)
    shape = (prompts.zero_shot.n, len(layers), model.width)
    before, seen, hidden, tuned, inheriting = (scratch_zeros(*shape, dtype=torch.float32) for _ in range(5))
    answered: dict[Setting, list[tuple[Tensor, Answers]]] = {"zsl": [], "icl": [], "ft": []}
    gold = torch.tensor(prompts.zero_shot.gold)
    holds_positions = False
    for batch, shown_in_context in _recorded(config, model, prompts.icl, "query", size, "parts"):
        seen[batch], inputs = shown_in_context
        answered["icl"].append((batch, answers_of(shown_in_context.capture, gold[batch])))
        for local, zero_shot in _zero_shot(config, model, prompts.zero_shot.select(batch)):
            indices = batch[local]
            some = prompts.zero_shot.select(indices)
            holds_positions |= _differ(zero_shot, shown_in_context.first_inputs[local])
            before[indices] = outputs_of(zero_shot)
            answered["zsl"].append((indices, answers_of(zero_shot, gold[indices])))
            # What enters the first layer is the token itself, and where it stands: nothing to inherit.
            own = [place for place, layer in enumerate(layers) if layer > 0]
            hidden[indices] = outputs_on_inputs(
                model,
                some,
                inputs[local][:, own],
                layers=tuple(layers[place] for place in own),
                first=len(prompts.zero_shot.prefix_ids),
            )
            with delta.applied(model):
                ((order, finetuned),) = _recorded(config, model, some, "prompt", len(indices), None)
            tuned[indices[order]], changed = finetuned
            answered["ft"].append((indices[order], answers_of(finetuned.capture, gold[indices[order]])))
            inheriting[indices[order]] = outputs_on_inputs(model, some.select(order), changed, layers=layers)
    for name, outputs in (("zero-shot", before), ("in context", seen), ("finetuned", tuned)):
        if not bool(outputs.isfinite().all()):
            raise UserError(
                f"attention outputs of {shown(model.name)} {name} are NaN or infinite: load it with dtype=float32, "
                "or take a smaller learning rate"
            )
    floors = _floors(config, model, cell, before)
    answers: dict[Setting, Answers] = {name: _in_order(parts) for name, parts in answered.items()}
    return SplitDraw(
        cell,
        layers,
        SplitOutputs(before, hidden, seen, floors.icl),
        SplitOutputs(before, inheriting, tuned, floors.ft),
        answers,
        setting,
        outcome_of(setting, answers),
        holds_positions,
    )


def parts_batch_size(config: PartsConfig, model: LanguageModel, prompts: PromptSet) -> int:
    """Return how many queries run at once: no more than those whose layers' inputs take half a gigabyte."""
    size = batch_size_for(config, model, prompts)
    longest = len(prompts.prefix_ids) + max(len(ids) for ids in prompts.query_ids)
    return max(1, min(size, _INPUT_BYTES // (2 * len(model.parts) * longest * model.width * 4)))


@dataclass(frozen=True)
class _Recorded:
    """Attention outputs at the last tokens ``[B, L, d]``, and the layers' inputs ``[B, L, P, d]``."""

    capture: Capture

    def __iter__(self) -> Iterator[Tensor]:
        assert self.capture.residual_before is not None
        yield self._at_last(outputs_of(self.capture))
        yield self.capture.residual_before

    @property
    def first_inputs(self) -> Tensor:
        """What enters the first layer at the last token, ``[B, d]``."""
        assert self.capture.residual_before is not None
        return self._at_last(self.capture.residual_before)[:, 0]

    def _at_last(self, rows: Tensor) -> Tensor:
        assert self.capture.rows is not None
        return rows[torch.arange(len(rows)), :, self.capture.rows.sum(dim=1) - 1]


def _recorded(
    config: PartsConfig,
    model: LanguageModel,
    prompts: PromptSet,
    tokens: str,
    size: int,
    progress: str | None,
) -> Iterator[tuple[Tensor, _Recorded]]:
    """Record outputs and inputs of all layers, at all tokens of the ``query`` or of the ``prompt``."""
    plan = CapturePlan(
        sites=("attention_output", "residual_before"), positions="all" if tokens == "query" else "prompt"
    )
    for indices, found in stream(
        model,
        prompts,
        plan,
        batch_size=size,
        share_prefix=tokens == "query",
        scoring=config.scoring,
        progress=progress,
    ):
        yield indices, _Recorded(found)


def _zero_shot(
    config: PartsConfig, model: LanguageModel, prompts: PromptSet
) -> Iterator[tuple[Tensor, Capture]]:
    return stream(
        model, prompts, _LAST_AND_INPUT, batch_size=prompts.n, share_prefix=False, scoring=config.scoring
    )


def _differ(zero_shot: Capture, first_inputs: Tensor) -> bool:
    """Tell whether the same tokens enter decoder layer 0 otherwise in context."""
    assert zero_shot.residual_before is not None
    return zero_shot.layers[0] == 0 and not torch.equal(zero_shot.residual_before[:, 0], first_inputs)


def _in_order(parts: list[tuple[Tensor, Answers]]) -> Answers:
    order = torch.cat([indices for indices, _ in parts]).argsort()
    return Answers(
        *(
            torch.cat([getattr(answers, name) for _, answers in parts])[order]
            for name in ("prediction", "label_logprobs", "correct", "correct_vocabulary")
        )
    )


def _floors(config: PartsConfig, model: LanguageModel, cell: Cell, before: Tensor) -> Floors:
    """Return up to which length updates are only rounding; in half precision at least what other batches change."""
    zero_shot, icl = cell.prompts.zero_shot, cell.prompts.icl
    moved = len(icl.prefix_ids) != len(zero_shot.prefix_ids)
    floors = Floors.of(model.dtype, icl.longest if moved else 0)
    if model.dtype not in (torch.float16, torch.bfloat16):
        return floors
    few = torch.arange(min(zero_shot.n, _REPEATED_QUERIES))
    again = capture(
        model, zero_shot.select(few), _LAST, batch_size=1, share_prefix=False, scoring=config.scoring
    )
    measured = noise_floor(before[few], outputs_of(again))
    return Floors(
        *(
            torch.maximum(torch.full_like(measured, float(floor)), measured)
            for floor in (floors.icl, floors.ft)
        )
    )
