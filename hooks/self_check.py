"""The self-check: does a capture of this model, on this machine, say what its attention does?

Nothing here computes attention a second time: captured rows are held against the outputs of the model's own
attention calls, and captures against captures that must equal them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, repeat
from torch import Tensor

from ..errors import UserError
from ..models.exclusive_use import exclusive
from ..models.loading import LanguageModel, load_model
from ..models.token_loss import evaluation_mode
from ..tasks.prompts import PromptSet
from .attention_calls import AttentionCall, watch_attention
from .capture import Prompts, capture
from .captured import Capture
from .check_prompts import check_prompts
from .computing_dtype import computing_dtype
from .forward import run_forward
from .forward_rows import Recording
from .layout_check import foreign_rows, unchecked_rows, unlike_heads
from .plan import CapturePlan, Site
from .resolved_plan import resolve_plan
from .tap import Recorder
from .text_prompts import as_prompt_set
from .tolerances import relative_deviation, tolerance_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUT_CHECK = "the output projection takes what attention gives, head by head"
ROWS_CHECK = "rows of W_Q, W_K and W_V are those of their heads"
_EVERYTHING = CapturePlan(sites=("attention_output", "scores", "pattern"), positions="all", columns="all")


@dataclass(frozen=True)
class Check:
    """One property of captures of one model.

    Attributes:
        name: The property.
        measured: The worst deviation, or what the name says.
        tolerance: The largest value at which the property holds.
        note: What limits the check, or why it could not be made.
    """

    name: str
    measured: float
    tolerance: float
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether the property holds; a value that is no number does not."""
        return self.measured <= self.tolerance


@dataclass(frozen=True)
class SelfCheck:
    """What `self_check` found out about one model.

    Attributes:
        model: Its name.
        dtype: Its dtype, which decides the tolerances.
        checks: The properties, in the order in which they were tried.
        family: Its family, and whether that was derived.
    """

    model: str
    dtype: str
    checks: tuple[Check, ...]
    family: str = ""

    @property
    def held(self) -> bool:
        """Whether every property holds."""
        return all(check.held for check in self.checks)

    def __str__(self) -> str:
        """Return one line a property."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return one line a property, to be printed."""
        width = max(len(check.name) for check in self.checks)
        return [
            f"{'held  ' if check.held else 'FAILED'}  {check.name:<{width}}  {check.measured:.1e} "
            f"(tolerance {check.tolerance:.0e}){'  ' + check.note if check.note else ''}"
            for check in self.checks
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in types that JSON holds."""
        checks = [
            {**asdict(check), "measured": _number(check.measured), "held": check.held}
            for check in self.checks
        ]
        return {
            "model": self.model,
            "family": self.family,
            "dtype": self.dtype,
            "held": self.held,
            "checks": checks,
        }


def self_check(model: LanguageModel | PreTrainedModel, prompts: Prompts | None = None) -> SelfCheck:
    """Check that captures of a model are right, on prompts or on random tokens.

    Args:
        model: The model.
        prompts: What to run; by default three prompts of random tokens behind a shared prefix. Where the model has a
            sliding window, or rotates long texts otherwise, some are longer and some are shorter than that, if the
            context and a few seconds allow; a note says which such lengths no prompt exceeds.

    Returns:
        The properties and how far each was from holding exactly.

    Raises:
        UserError: If another thread uses the model.
    """
    model = load_model(model)
    with exclusive(model.module, "a self-check"), evaluation_mode(model.module):
        return _self_check(model, prompts)


def _self_check(model: LanguageModel, prompts: Prompts | None) -> SelfCheck:
    drawn = check_prompts(model) if prompts is None else None
    note = drawn.note if drawn else ""
    prompt_set = drawn.short if drawn else as_prompt_set(model, prompts)
    dtype = computing_dtype(model)
    tolerance = tolerance_of(dtype)
    checks: list[Check] = []
    measures = [
        ("every layer records every site once", _missing_layers, 0.0, ""),
        ("the tap changes no logit", _changed_logits, 0.0, ""),
        ("captured rows give the attention the model used", _unlike_attention, tolerance, note),
        ("padding and batch size change no row", _batch_dependence, tolerance, _padding_note(model)),
        (
            "a shared prefix gives what full prompts give",
            _prefix_dependence,
            tolerance,
            _prefix_note(prompt_set),
        ),
        (OUTPUT_CHECK, partial(unlike_heads, tolerance=tolerance), tolerance, ""),
        (ROWS_CHECK, partial(foreign_rows, tolerance=tolerance), tolerance, unchecked_rows(model)),
    ]
    given = [prompt_set] * len(measures)
    if drawn is not None and drawn.long is not None:
        name = f"all of this holds on both sides of {drawn.edge} tokens"
        measures.append((name, _unlike_alone, tolerance, ""))
        given.append(drawn.long)
    for (name, measure, limit, remark), these in zip(measures, given, strict=True):
        try:
            checks.append(Check(name, measure(model, these), limit, remark))
        except UserError as error:
            checks.append(Check(name, math.inf, limit, str(error)))
    return SelfCheck(model.name, str(dtype).removeprefix("torch."), tuple(checks), model.family.label)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _padding_note(model: LanguageModel) -> str:
    return "" if model.family.pads else f"family {model.family.name} is never padded"


def _prefix_note(prompts: PromptSet) -> str:
    return "" if len(prompts.prefix_ids) > prompts.bos_length else "these prompts share no prefix"


def _full_prompts(prompts: PromptSet) -> PromptSet:
    return PromptSet((), tuple(prompts.full_ids(index) for index in range(prompts.n)))


def _alone(prompts: PromptSet, index: int = 0) -> tuple[Tensor, Tensor]:
    """Return one whole prompt, without padding: token ids and which are real, ``[1, S]``."""
    tokens = torch.tensor([prompts.full_ids(index)])
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def _missing_layers(model: LanguageModel, prompts: PromptSet) -> float:
    """Layers without a recording; a site that fires never or twice raises."""
    sites: tuple[Site, ...] = (*_EVERYTHING.sites, "residual")
    if all(part.mlp_output is not None for part in model.parts):
        sites = (*sites, "mlp_output")
    got = capture(model, _full_prompts(prompts), CapturePlan(sites=sites, columns="all"))
    assert got.attention_output is not None
    return float(len(model.parts) - got.attention_output.shape[1])


def _changed_logits(model: LanguageModel, prompts: PromptSet) -> float:
    tokens, exists = _alone(prompts)
    without = run_forward(model, tokens, exists).logits
    with Recorder(resolve_plan(_EVERYTHING, model)).attached():
        with_tap = run_forward(model, tokens, exists).logits
    return _largest((without.float() - with_tap.float()).abs())


def _batch_dependence(model: LanguageModel, prompts: PromptSet) -> float:
    full = _full_prompts(prompts)
    return _difference(
        capture(model, full, _EVERYTHING, batch_size=1), capture(model, full, _EVERYTHING, batch_size=full.n)
    )


def _prefix_dependence(model: LanguageModel, prompts: PromptSet) -> float:
    return _difference(
        capture(model, prompts, _EVERYTHING, share_prefix=False),
        capture(model, prompts, _EVERYTHING, share_prefix=True),
    )


def _difference(one: Capture, other: Capture) -> float:
    """The worst entry, relative to the largest of its row; infinite where other keys are visible."""
    assert one.visible is not None and other.visible is not None and one.rows is not None
    # What stands behind the last token of a shorter prompt is no row of it.
    exists = one.rows[:, None, :, None, None]
    if not torch.equal(one.visible & exists, other.visible & exists):
        return math.inf
    worst = []
    for name in ("attention_output", "scores"):
        want, got = getattr(one, name), getattr(other, name)
        real = exists if name == "scores" else exists[..., 0]
        worst.append(relative_deviation(want, got, real))
    return _worst(worst)


def _unlike_attention(model: LanguageModel, prompts: PromptSet) -> float:
    """Hold captured patterns against what the model's own attention calls returned."""
    return _record_alone(model, prompts, 0, _EVERYTHING)[1]


def _unlike_alone(model: LanguageModel, prompts: PromptSet) -> float:
    """Hold the last rows of prompts that run together against those of each alone, and these against attention."""
    plan = _EVERYTHING.model_copy(update={"positions": "last_prompt_token"})
    together = capture(model, prompts, plan)
    worst = []
    for index in range(prompts.n):
        alone, unlike = _record_alone(model, prompts, index, plan)
        width = len(prompts.full_ids(index))
        got = [getattr(together, name)[index] for name in ("attention_output", "scores")]
        want = [alone["attention_output"][0, :, 0], alone["scores"][0, :, 0]]
        worst += [
            unlike,
            relative_deviation(want[0], got[0]),
            relative_deviation(want[1], got[1][..., :width]),
        ]
    return _worst(worst)


def _record_alone(
    model: LanguageModel, prompts: PromptSet, index: int, plan: CapturePlan
) -> tuple[Recording, float]:
    """Run one whole prompt; return what was recorded and how unlike the model's own attention calls it is."""
    recorder = Recorder(resolve_plan(plan, model))
    with recorder.attached(), watch_attention(model) as watch:
        run_forward(model, *_alone(prompts, index), keep_logits=torch.tensor([0]))
    recording = recorder.take()
    patterns = recording["pattern"]
    worst = [
        _unlike_call(patterns[0, place], watch.calls.get(part.index))
        for place, part in enumerate(model.parts)
    ]
    return recording, _worst(worst)


def _unlike_call(pattern: Tensor, call: AttentionCall | None) -> float:
    """The worst deviation of one layer's captured pattern ``[P, H, K]``, the last P rows of the call."""
    if call is None:
        return math.nan
    if call.pattern is not None:
        own = call.pattern.transpose(0, 1)[-len(pattern) :, ..., : pattern.shape[-1]]
        return _largest((pattern - own).abs() / own.amax(dim=-1, keepdim=True))
    assert call.values is not None and call.output is not None
    values = repeat(call.values, "kv k d -> (kv group) k d", group=pattern.shape[1] // len(call.values))
    with torch.autocast("cpu", enabled=False):
        found = einsum(pattern, values, "s h k, h k d -> s h d")
    # A head's output may nearly cancel: it is judged by the values that it mixes.
    size = values.abs().amax(dim=(1, 2))[None, :, None]
    return _largest((found - call.output[-len(pattern) :]).abs() / size)


def _worst(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def _largest(values: Tensor) -> float:
    return values.max().item()
