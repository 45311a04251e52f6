"""Patching: write where a tap reads, in any forward that runs while the patch is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..models.live_module import calling_module
from ..models.loading import LanguageModel, load_model
from .attachment import Attachment
from .attention_writes import write_in_calls
from .given_values import GivenValues, Values
from .module_writes import refuse_unwritable, write_at_modules
from .plan import SITES_OF_THE_CALL, CapturePlan
from .resolved_plan import ResolvedPlan, resolve_plan
from .row_writer import RowWriter
from .rows import Wanted
from .wanted_rows import existing_tokens, wanted_from_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Patcher(Attachment):
    """Writes values at the sites of a plan, in one forward after another."""

    def __init__(self, resolved: ResolvedPlan, values: GivenValues) -> None:
        self._writer = RowWriter(resolved, values)
        super().__init__(self._writer, "a patch")
        positions = resolved.plan.positions
        self._named = isinstance(positions, str) and positions not in ("last_prompt_token", "all")
        self._tokens = values.row_tokens
        if self._named and self._tokens is None:
            raise UserError(
                f"a forward does not say where {shown(positions)} stands: give positions as numbers, or as values a "
                "capture(model, prompts, plan), which knows its prompts"
            )

    def listen(self, stack: ExitStack) -> None:
        """Attach to the sites."""
        for handle in write_at_modules(self._writer):
            stack.callback(handle.remove)
        if self._writer.asks_for(*SITES_OF_THE_CALL):
            stack.enter_context(write_in_calls(self._writer))

    def begun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note which rows of a forward are written."""
        module = self.resolved.model.module
        if module.training and torch.is_grad_enabled():
            recomputing = any(getattr(each, "gradient_checkpointing", False) for each in module.modules())
            if recomputing:
                raise UserError(
                    "layers that gradient checkpointing runs again would run unpatched: switch it off "
                    "(model.gradient_checkpointing_disable()), or call model.eval()"
                )
        inputs = self.inputs(args, kwargs)
        if self._named:
            wanted, existing = self._at_tokens(inputs)
        else:
            wanted, _, existing = wanted_from_inputs(self.resolved, inputs, None)
        self._writer.begin(wanted, existing)

    def _at_tokens(self, inputs: dict[str, Any]) -> tuple[Wanted, Tensor]:
        """Return the rows that are the tokens of whole prompts which the capture says."""
        exists, past = existing_tokens(inputs)
        tokens, positions = self._tokens, self.resolved.plan.positions
        assert tokens is not None
        if past or len(tokens) not in (1, len(exists)):
            raise UserError(
                f"the capture says where {shown(positions)} stands in {len(tokens)} whole prompts, and the "
                f"forward has {len(exists)} behind {past} cached tokens: run as many whole prompts without a cache"
            )
        tokens = tokens.expand(len(exists), -1)
        lengths = exists.sum(dim=1, keepdim=True)
        if (tokens >= lengths).any():
            raise UserError(
                f"{shown(positions)} of the capture is token {int(tokens.max())} of a prompt, and a prompt of the "
                f"forward has {int(lengths.min())}: run prompts that are laid out as those of the capture"
            )
        start = exists.int().argmax(dim=1, keepdim=True)
        rows = torch.where(tokens < 0, start, start + tokens)
        return Wanted(rows, 0, exists.shape[1], first_column=0), tokens >= 0

    def finished(self) -> None:
        """Check that every site was written in every layer."""
        self._writer.whole()


@contextmanager
def patch(model: LanguageModel | PreTrainedModel, plan: CapturePlan, values: Values) -> Iterator[None]:
    """Write at a plan's sites, layers and positions in every forward inside the ``with``, in this thread.

    It is the tap's mirror: what is written is what a tap with this plan, opened inside the patch, reads, and what the
    model goes on with. What stands there already is left alone, bit for bit. Patches and taps act in the order in
    which they were opened. Gradients flow through what is written and through the function.

    Example:
        >>> with tap(model, plan) as recorder:
        ...     model(in_context_ids)
        >>> with patch(model, plan, recorder.capture()):
        ...     model(zero_shot_ids)

    Args:
        model: The model.
        plan: Where to write. Positions count each forward's own tokens, as a tap's do; names of parts of a prompt
            need a capture that knows its prompts, and mean the same tokens of each prompt as there. Scores are
            those that the softmax is given (score space ``softmax_input``); of scores and pattern, entries that are
            hidden stay so.
        values: A `Capture`, or for each site of the plan a tensor ``[N, L, P, …]`` (``[N, L, …]`` with one
            position), N being the prompts of a forward or 1; or a function of the site, the layer and what the
            model computed, ``[B, P, …]``, that returns what shall stand there. It gets the model's dtype; scores,
            pattern and head outputs in fp32.

    Raises:
        UserError: If values do not fit the plan; on leaving a forward in which a site did not come by exactly once in
            a layer, or gave another shape than the values have; or if another thread uses the model.
    """
    resolved = resolve_plan(plan, load_model(model))
    refuse_unwritable(resolved)
    patcher = _Patcher(resolved, GivenValues(resolved, values))
    caller = None if isinstance(model, LanguageModel) else calling_module(model)
    with patcher.attached(caller):
        yield
