"""The self-check: does a capture of this model, on this machine, say what its attention does?

Nothing here computes attention a second time: captured rows are held against the outputs of the model's own
attention calls, and captures against captures that must equal them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..models.exclusive_use import exclusive
from ..models.loading import LanguageModel, load_model
from ..models.token_loss import evaluation_mode
from ..tasks.prompts import PromptSet
from .capture import Prompts
from .check_prompts import check_prompts
from .check_runs import CheckRuns, unlike_alone
from .computing_dtype import computing_dtype
from .layout_check import foreign_rows, unchecked_rows, unlike_heads
from .text_prompts import as_prompt_set
from .tolerances import tolerance_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUT_CHECK = "the output projection takes what attention gives, head by head"
ROWS_CHECK = "rows of W_Q, W_K and W_V are those of their heads"


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
    runs = CheckRuns(model, prompt_set)
    measures: list[tuple[str, Callable[[], float], float, str]] = [
        ("every layer records every site once", runs.missing_layers, 0.0, ""),
        ("the tap changes no logit", runs.changed_logits, 0.0, ""),
        ("captured rows give the attention the model used", runs.unlike_attention, tolerance, note),
        ("padding and batch size change no row", runs.batch_dependence, tolerance, _padding_note(model)),
        (
            "a shared prefix gives what full prompts give",
            runs.prefix_dependence,
            tolerance,
            _prefix_note(prompt_set),
        ),
        (OUTPUT_CHECK, partial(unlike_heads, model, prompt_set, tolerance), tolerance, ""),
        (ROWS_CHECK, partial(foreign_rows, model, prompt_set, tolerance), tolerance, unchecked_rows(model)),
    ]
    if drawn is not None and drawn.long is not None:
        name = f"all of this holds on both sides of {drawn.edge} tokens"
        measures.append((name, partial(unlike_alone, model, drawn.long), tolerance, ""))
    for name, measure, limit, remark in measures:
        try:
            checks.append(Check(name, measure(), limit, remark))
        except UserError as error:
            checks.append(Check(name, math.inf, limit, str(error)))
    return SelfCheck(model.name, str(dtype).removeprefix("torch."), tuple(checks), model.family.label)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _padding_note(model: LanguageModel) -> str:
    return "" if model.family.pads else f"family {model.family.name} is never padded"


def _prefix_note(prompts: PromptSet) -> str:
    return "" if len(prompts.prefix_ids) > prompts.bos_length else "these prompts share no prefix"
