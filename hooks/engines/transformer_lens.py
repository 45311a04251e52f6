"""The engine TransformerLens: its bridge runs the model, and its own hooks say what attention does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...models.exclusive_use import exclusive
from ...models.loading import LanguageModel
from ...models.token_loss import evaluation_mode
from ..forward import run_forward
from ..forward_rows import ForwardRows, Recording
from ..plan import Site
from ..prefix import fork
from ..resolved_plan import ResolvedPlan
from ..rows import Wanted
from .lens_bridge import EXTRA, bridge_around, let_go, refuse_processed
from .lens_rows import LensRows
from .lens_sites import hook_of, keeps_other_keys
from .packages import require_package
from .same_logits import require_same_logits

Hook = tuple[str, Callable[..., None]]


class TransformerLensEngine:
    """Runs a model in TransformerLens's bridge and reads its hooks.

    Each capture makes a bridge of its own, around a copy of the modules that shares all tensors, so the model that
    was given stays as it is; or it uses the bridge that it was given.

    What is checked: at the first batch of each capture, that the bridge gives the logits of the model itself; at
    every forward, that the hooked pattern is the softmax of the hooked scores.

    Attributes:
        name: ``transformer-lens``.
        version: That of the installed package.
        takes_cache: Whether the model that was opened last takes a shared prefix; those with latent attention do not.
        attends_apart: False; its hooks are in attention over all keys.
        forms_scores: True.
    """

    name = EXTRA
    attends_apart = False
    forms_scores = True

    def __init__(self, bridge: Any = None) -> None:
        """Make the engine.

        Args:
            bridge: A bridge around the model that will be run; by default each capture makes one.

        Raises:
            UserError: If TransformerLens is missing or of another version, or the bridge's weights were processed.
        """
        self.version = require_package(EXTRA)
        if bridge is not None:
            refuse_processed(bridge)
        self.takes_cache = True
        self._bridge = bridge

    @contextmanager
    def open(self, resolved: ResolvedPlan) -> Iterator[_Bridged]:
        """Put a bridge around the model, or take the one that was given.

        Raises:
            UserError: If TransformerLens cannot run the model, or has no hook for what the plan asks for.
        """
        if resolved.plan.score_space != "softmax_input" and "scores" in resolved.plan.sites:
            raise UserError(
                "TransformerLens's hook_attn_scores is what the softmax sees, and not in the space "
                f"{resolved.plan.score_space!r}: take score space softmax_input, or engine native"
            )
        if self._bridge is not None:
            self.takes_cache = not keeps_other_keys(self._bridge)
            module = self._bridge.original_model
            with exclusive(module, "a capture"), evaluation_mode(module):
                yield _Bridged(resolved, self._bridge, self.version)
            return
        opened = _Bridged(resolved, bridge_around(resolved.model), self.version)
        self.takes_cache = not keeps_other_keys(opened.bridge)
        try:
            yield opened
        finally:
            let_go(opened.bridge)


class _Bridged:
    def __init__(self, resolved: ResolvedPlan, bridge: Any, version: str) -> None:
        self.resolved, self.bridge, self.version = resolved, bridge, version
        self.model: LanguageModel = replace(resolved.model, module=bridge.original_model)
        self._rows = ForwardRows(resolved)
        self._same_logits = False
        self._layers = [LensRows(self._rows, part, bridge) for part in resolved.parts]
        self._hooks = tuple(self._all_hooks())

    def forward(self, tokens: Tensor, exists: Tensor, **options: Any) -> Any:
        return run_forward(self.model, tokens, exists, **options, together=False)

    def record(
        self,
        wanted: Wanted,
        tokens: Tensor,
        exists: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = False,
        keep_logits: Tensor | None = None,
    ) -> tuple[Any, Recording]:
        own = None if self._same_logits or cache is None else fork(cache)
        self._rows.wanted = wanted
        try:
            with self.bridge.hooks(fwd_hooks=list(self._hooks)):
                output = run_forward(
                    self.model,
                    tokens,
                    exists,
                    cache=cache,
                    use_cache=use_cache,
                    keep_logits=keep_logits,
                    together=False,
                )
            self._require_fired()
            recording = self._rows.whole()
        finally:
            self._rows.forget()
            for kept in self._layers:
                kept.forget()
        if not self._same_logits:
            expected = run_forward(self.resolved.model, tokens, exists, cache=own, keep_logits=keep_logits)
            real = exists[:, wanted.past :]
            real = real if keep_logits is None else real.gather(1, keep_logits.cpu())
            require_same_logits(
                self.resolved.model, f"TransformerLens {self.version}", real, expected, output
            )
            self._same_logits = True
        return output, recording

    def _all_hooks(self) -> Iterator[Hook]:
        sites = self.resolved.plan.sites
        for kept in self._layers:
            layer = kept.part.index
            if "scores" in sites or "pattern" in sites:
                yield hook_of(self.bridge, "scores", layer), kept.on_scores
                yield hook_of(self.bridge, "pattern", layer), kept.on_pattern
            for site in sites:
                if site not in ("scores", "pattern"):
                    yield hook_of(self.bridge, site, layer), partial(_keep, kept, site)

    def _require_fired(self) -> None:
        for part in self.resolved.parts:
            for site in self.resolved.plan.sites:
                if not self._rows.has(site, part):
                    name = hook_of(self.bridge, site, part.index)
                    raise UserError(
                        f"TransformerLens's hook {name} never fired in {shown(self.resolved.model.name)} "
                        f"({self.bridge.cfg.architecture}), so there is no {site}: leave it out of the plan's sites, "
                        "or take engine native"
                    )


@torch.no_grad()
def _keep(kept: LensRows, site: Site, tensor: Tensor, hook: Any) -> None:
    kept.on_vectors(site, tensor, hook)
