"""The tap: record what attention does in any forward that runs while it is open."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.exclusive_use import exclusive
from ..models.layer_parts import LayerParts
from ..models.live_module import calling_module, running_eagerly
from ..models.loading import LanguageModel, load_model
from .functional import listen_to_softmax
from .plan import CapturePlan
from .registry import listen_to_attention, other_attention
from .resolved_plan import ResolvedPlan, resolve_plan
from .rows import Rows, Wanted, keep_columns, score_rows, softmax_rows, take_rows
from .text_prompts import begin_token
from .wanted_rows import wanted_from_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .captured import Capture

# What one forward gives: for each site (and "visible") a tensor [B, L, P, …] on the CPU.
Recording = dict[str, Tensor]


class Recorder:
    """Collects the wanted rows of one forward after another.

    Attributes:
        resolved: What is recorded.
        recordings: What has been recorded, one entry a forward, until somebody takes it.
    """

    def __init__(self, resolved: ResolvedPlan) -> None:
        self.resolved = resolved
        self.recordings: list[Recording] = []
        self._expected: Wanted | None = None
        self._wanted: Wanted | None = None
        self._layers: dict[tuple[str, int], Tensor] = {}
        self._axes: Recording = {}
        self._paused = False
        self._thread = threading.get_ident()
        self._caller: torch.nn.Module | None = None

    @cached_property
    def _begin_token(self) -> int | None:
        return begin_token(self.resolved.model)

    def expect(self, wanted: Wanted) -> None:
        """Say which rows of this thread's next forward are wanted, instead of reading it off its attention mask."""
        self._expected, self._thread = wanted, threading.get_ident()

    def take(self) -> Recording:
        """Return and forget the recording of the latest forward."""
        return self.recordings.pop()

    def capture(self) -> Capture:
        """Return everything recorded so far as one `Capture`, in the order of the forwards."""
        from .captured import collect

        return collect(self.resolved, self.recordings)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let forwards pass unrecorded."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    @property
    def _elsewhere(self) -> bool:
        """Whether the forward that runs is another thread's."""
        return self._thread != threading.get_ident()

    @property
    def _wanted_here(self) -> Wanted | None:
        return None if self._elsewhere else self._wanted

    def begin(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what a forward brings; called by a hook before the model runs."""
        if self._elsewhere or self._caller is not None:
            return
        self._caller = module
        self._layers.clear()
        self._axes = {}
        if self._paused:
            self._wanted = None
            return
        self._wanted, self._expected = self._expected, None
        if self._wanted is None:
            forward = self.resolved.model.module.forward
            inputs = inspect.signature(forward).bind(*args, **kwargs).arguments
            inputs |= inputs.get("kwargs", {})
            self._wanted, columns, rows = wanted_from_inputs(self.resolved, inputs, self._begin_token)
            self._axes = {"columns": columns, "rows": rows}

    def finish(self, module: torch.nn.Module, *_: Any) -> None:
        """Check that every site fired once in every layer, and keep the recording."""
        if self._paused or self._elsewhere or module is not self._caller:
            return
        wanted_names = [*self.resolved.plan.sites]
        if {"scores", "pattern"} & set(wanted_names):
            wanted_names.append("visible")
        recording: Recording = {}
        for name in wanted_names:
            rows = []
            for part in self.resolved.parts:
                if (name, part.index) not in self._layers:
                    raise self._not_recorded(name, part)
                rows.append(self._layers[name, part.index].cpu())
            recording[name] = torch.stack(rows, dim=1)
        recording.update(self._axes)
        self.recordings.append(recording)

    def _not_recorded(self, name: str, part: LayerParts) -> UserError:
        model = self.resolved.model
        used = model.attention_implementation
        other = (
            "" if name in ("attention_output", "mlp_output", "residual") else f"{other_attention(used)}, or "
        )
        return UserError(
            f"layer {part.index} of {model.name!r} recorded no {name} in a forward (attention implementation "
            f"{used!r}): {other}correct its row in the family table (iclprobe.register_family)"
        )

    def end(self, module: torch.nn.Module, *_: Any) -> None:
        """Forget the forward, also one that raised."""
        if not self._elsewhere and module is self._caller:
            self._caller = None
            self._layers.clear()
            self._wanted = None

    def _keep(self, name: str, part: LayerParts, tensor: Tensor) -> None:
        if (name, part.index) in self._layers:
            raise UserError(
                f"layer {part.index} of {self.resolved.model.name!r} recorded {name} twice in one forward, "
                "and a capture holds one: leave this layer out of the plan's layers"
            )
        model, axis = self.resolved.model, -2 if name in ("scores", "pattern") else -1
        wanted = model.geometry_of(part.index).heads if axis == -2 else model.width
        if name != "visible" and tensor.shape[axis] != wanted:
            unit = "heads" if axis == -2 else "entries"
            raise self._of_other_shape(part, name, f"of {tensor.shape[axis]} {unit} and not {wanted}")
        self._layers[name, part.index] = tensor

    def _of_other_shape(self, part: LayerParts, name: str, found: str) -> UserError:
        model = self.resolved.model
        return UserError(
            f"layer {part.index} of {model.name!r} gave {name} {found}, unlike the row of family "
            f"{model.family.name!r}: correct it with iclprobe.register_family(...)"
        )

    def _keep_rows(self, part: LayerParts, rows: Rows) -> None:
        assert self._wanted is not None
        visible = keep_columns(rows.visible, self._wanted)
        if "scores" in self.resolved.plan.sites:
            # Masked from a fresh tensor, so nothing of the model's is held.
            scores = keep_columns(rows.scores, self._wanted).masked_fill(~visible, 0.0)
            self._keep("scores", part, scores)
        if "pattern" in self.resolved.plan.sites:
            self._keep("pattern", part, keep_columns(rows.pattern(), self._wanted).clone())
        self._keep("visible", part, visible.clone())

    # Recording builds no graph: recomputing layers under gradient checkpointing must save the same tensors.
    def _on_attention(self, part: LayerParts) -> Callable[..., None]:
        @torch.no_grad()
        def listen(
            module: torch.nn.Module, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]
        ) -> None:
            wanted = self._wanted_here
            if wanted is None:
                return
            refuse_unread_options(part, mask, options, self.resolved.model.attention_implementation)
            # A cache of fixed size has room for tokens behind the newest.
            key = key[..., : wanted.total, :]
            if isinstance(mask, Tensor):
                mask = mask[..., : key.shape[-2]]
            if "pattern" not in self.resolved.plan.sites:
                # Only the wanted columns are computed; the pattern alone needs every key.
                key = key[..., -min(wanted.width, key.shape[-2]) :, :]
            self._keep_rows(
                part,
                score_rows(
                    query,
                    key,
                    mask,
                    wanted,
                    scaling=options.get("scaling"),
                    softcap=options.get("softcap"),
                    window=options.get("sliding_window"),
                    sinks=options.get("s_aux"),
                    space=self.resolved.plan.score_space,
                ),
            )

        return listen

    def _on_softmax(self, part: LayerParts) -> Callable[..., None]:
        space = self.resolved.plan.score_space

        @torch.no_grad()
        def listen(scores: Tensor, mask: Tensor | None) -> None:
            if (wanted := self._wanted_here) is not None:
                if space == "raw" and self.resolved.model.family.name == "falcon":
                    raise UserError(
                        "Falcon gives no raw scores where it calls the softmax itself, as here: take score space "
                        f"scaled, or {other_attention(self.resolved.model.attention_implementation)}"
                    )
                self._keep_rows(part, softmax_rows(scores, mask, wanted))

        return listen

    def _on_product(self, part: LayerParts) -> Callable[..., None]:
        space = self.resolved.plan.score_space

        @torch.no_grad()
        def listen(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> None:
            if (wanted := self._wanted_here) is not None:
                self._keep_rows(part, score_rows(query, key, mask, wanted, scaling=scale, space=space))

        return listen

    def _on_output(self, name: str, part: LayerParts) -> Callable[..., None]:
        stream = self.resolved.model.family.stream

        @torch.no_grad()
        def listen(module: torch.nn.Module, args: Any, output: Any) -> None:
            if (wanted := self._wanted_here) is not None:
                tensor = output[0] if isinstance(output, (tuple, list)) else output
                if name == "residual" and stream is not None:
                    tensor = tensor[stream]
                # OPT's MLP sees all tokens of the batch in one axis.
                tensor = tensor.view(len(wanted.rows), -1, tensor.shape[-1])
                if tensor.shape[1] != wanted.tokens:
                    raise self._of_other_shape(part, name, f"of {tensor.shape[1]} tokens")
                if name == "attention_output" and part.output_bias is not None:
                    tensor = tensor + part.output_bias
                self._keep(name, part, take_rows(tensor, wanted.rows))

        return listen

    @contextmanager
    def attached(self, caller: torch.nn.Module | None = None) -> Iterator[None]:
        """Attach to the model: its own hooks only, all removed on leaving, whatever happened.

        Args:
            caller: A module around the model whose forward passes the model's hooks by.
        """
        resolved, module = self.resolved, self.resolved.model.module
        entries = [module] if caller is None else [module, caller]
        handles = []
        self._thread = threading.get_ident()
        with ExitStack() as stack:
            stack.enter_context(exclusive(module, "a tap"))
            try:
                stack.enter_context(running_eagerly())
                for entry in entries:
                    handles.append(entry.register_forward_pre_hook(self.begin, with_kwargs=True))
                for part in resolved.parts:
                    for name, place in (
                        ("attention_output", part.output_projection),
                        ("mlp_output", part.mlp_output),
                        ("residual", part.layer),
                    ):
                        if name in resolved.plan.sites and place is not None:
                            handles.append(place.register_forward_hook(self._on_output(name, part)))
                if {"scores", "pattern"} & set(resolved.plan.sites):
                    stack.enter_context(self._listening())
                for entry in entries:
                    handles.append(entry.register_forward_hook(self.finish))
                    handles.append(entry.register_forward_hook(self.end, always_call=True))
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def _listening(self) -> Any:
        parts, model = self.resolved.parts, self.resolved.model
        if model.family.route == "registry":
            return listen_to_attention(
                model.attention_implementation, {part.attention: self._on_attention(part) for part in parts}
            )
        return listen_to_softmax(
            {part.attention: (self._on_softmax(part), self._on_product(part)) for part in parts}
        )


def refuse_unread_options(part: LayerParts, mask: Any, options: dict[str, Any], implementation: str) -> None:
    """Refuse an attention call whose scores this module would get wrong.

    Args:
        part: The layer.
        mask: The call's mask.
        options: Its keyword arguments.
        implementation: The attention implementation that is in use.

    Raises:
        UserError: If the call has a mask or a bias of a kind that is not read.
    """
    if mask is not None and not isinstance(mask, Tensor):
        raise UserError(
            f"layer {part.index} got a {type(mask).__name__} as attention mask, which hides what is visible: "
            f"{other_attention(implementation)}"
        )
    if isinstance(options.get("position_bias"), Tensor):
        raise UserError(
            f"layer {part.index} adds a position_bias inside its attention function, which is not read: leave this "
            "layer out of the plan's layers"
        )


@contextmanager
def tap(model: LanguageModel | PreTrainedModel, plan: CapturePlan | None = None) -> Iterator[Recorder]:
    """Record what a plan asks for in every forward of a model that runs inside the ``with``, in this thread.

    The model's output is bit for bit what it is without the tap. Other models and other threads are untouched.
    What is compiled runs as it was written: call the module that was given, or the one inside it.

    Example:
        >>> with tap(model) as recorder:
        ...     model(input_ids, attention_mask=mask)
        >>> recorder.capture().attention_output  # [N, L, d]

    Args:
        model: The model.
        plan: What to record; by default attention outputs and scores at the last prompt token, all columns.

    Raises:
        UserError: On leaving a forward in which a requested site did not fire exactly once in a layer, or if another
            thread uses the model.
    """
    recorder = Recorder(resolve_plan(plan, load_model(model)))
    caller = None if isinstance(model, LanguageModel) else calling_module(model)
    with recorder.attached(caller):
        yield recorder
