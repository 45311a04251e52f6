"""The nnsight engine: the model's own modules run inside nnsight's trace, here or on a server of NDIF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from ...errors import UserError, shown
from ...models.loading import LanguageModel, load_model
from ..forward import forward_inputs, logits_at, run_forward
from ..forward_rows import Recording
from ..prefix import cache_name, fork
from ..resolved_plan import ResolvedPlan
from ..rows import Wanted
from .nnsight_model import is_nnsight_model, model_inside
from .nnsight_readings import readings_of
from .nnsight_recording import recording_of
from .nnsight_trace import trace, wanted_values
from .packages import require_package
from .same_logits import require_same_logits
from .shared_copy import shared_copy


class NNsightEngine:
    """Reads a model through nnsight: what modules are given and return, and what operations in attention do.

    Attributes:
        name: ``nnsight``, and where the model runs if not here.
        version: nnsight's version.
        takes_cache: Whether a shared prefix runs once; not on a server.
        attends_apart: False; its hooks are in attention over all keys.
        forms_scores: True: only eager attention forms scores that can be seen.
        remote: Whether the model runs on NDIF, by its name on the hub, and no weights are loaded here.
    """

    attends_apart = False
    forms_scores = True

    def __init__(self, *, remote: bool = False) -> None:
        """Take note of where models run.

        Args:
            remote: Run them on NDIF; its API key comes from the environment (``NDIF_API_KEY``).

        Raises:
            UserError: If nnsight is missing or of another version.
        """
        self.name = "nnsight on NDIF" if remote else "nnsight"
        self.version = require_package("nnsight")
        self.remote = remote
        self.takes_cache = not remote

    def load(self, model: Any) -> LanguageModel:
        """Return a model as it is probed.

        Args:
            model: Whatever names or is a model; nnsight's own wrappers among it.

        Raises:
            UserError: If it cannot be loaded.
        """
        if self.remote:
            from .hosted_model import load_hosted

            return load_hosted(model)
        return model_inside(model) if is_nnsight_model(model) else load_model(model)

    @contextmanager
    def open(self, resolved: ResolvedPlan) -> Iterator[Any]:
        """Wrap a copy of the model's modules, or reach out for the server."""
        if self.remote:
            from .hosted_model import HostedModel
            from .ndif import Service

            if not isinstance(resolved.model, HostedModel):
                raise UserError(
                    f"{shown(resolved.model.name)} was loaded here: give NDIF a model by its name"
                )
            yield _Hosted(resolved, resolved.model.envoy, self.version, Service.reached(resolved.model))
        else:
            yield _Wrapped(resolved, self.version)


class _Wrapped:
    """A model whose modules run here, in nnsight's wrapper around a copy that shares its weights."""

    def __init__(self, resolved: ResolvedPlan, version: str) -> None:
        import nnsight

        module = resolved.model.module
        if any(tensor.is_meta for tensor in module.parameters()):
            raise UserError(
                f"weights of {shown(resolved.model.name)} are offloaded, and nnsight's copy of the modules shares "
                "them in memory: load the model without offloading, or take engine native"
            )
        # Only where attention forms its scores there are some to be seen.
        twin = shared_copy(module)
        twin.config._attn_implementation = "eager"
        self.resolved = resolved
        self.model = replace(resolved.model, module=twin)
        self.envoy = nnsight.NNsight(twin)
        self.groups = readings_of(resolved, self.envoy, version)
        self.version = version
        self._same_logits = False

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
        columns = None if keep_logits is None else keep_logits.unique()
        inputs = forward_inputs(
            self.model,
            tokens,
            exists,
            cache=cache,
            use_cache=use_cache,
            columns=columns,
        )
        values = wanted_values(wanted, exists, self.resolved.model)
        own = None if self._same_logits or cache is None else fork(cache)
        cached = inputs["use_cache"]
        found = trace(self.envoy, inputs, self.groups, values, keep=columns, cache=cached)
        output = _output(found, keep_logits, tokens)
        if not self._same_logits:
            # Eager attention of a family may compute otherwise than the attention that the model runs with.
            model, real = self.resolved.model, exists[:, wanted.past :]
            expected = run_forward(model, tokens, exists, cache=own, keep_logits=keep_logits)
            real = real if keep_logits is None else real.gather(1, keep_logits.cpu())
            require_same_logits(model, f"nnsight {self.version}", real, expected, output)
            self._same_logits = True
        return output, recording_of(self.resolved, wanted, found, self.version)


class _Hosted:
    """A model on a server, to which every forward is one request."""

    def __init__(self, resolved: ResolvedPlan, envoy: Any, version: str, service: Any) -> None:
        self.resolved = resolved
        self.envoy = envoy
        self.version = version
        self.service = service
        self.groups = readings_of(resolved, envoy, version)

    def forward(self, tokens: Tensor, exists: Tensor, **options: Any) -> Any:
        return _output(self._run([], {}, tokens, exists, **options), options.get("keep_logits"), tokens)

    def record(self, wanted: Wanted, tokens: Tensor, exists: Tensor, **options: Any) -> tuple[Any, Recording]:
        values = wanted_values(wanted, exists, self.resolved.model)
        found = self._run(self.groups, values, tokens, exists, **options)
        output = _output(found, options.get("keep_logits"), tokens)
        return output, recording_of(self.resolved, wanted, found, self.version)

    def _run(
        self,
        groups: list[list[dict[str, Any]]],
        values: dict[str, Any],
        tokens: Tensor,
        exists: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = False,
        keep_logits: Tensor | None = None,
    ) -> dict[Any, Any]:
        assert cache is None  # keys and values stay on the server, and this engine takes none
        columns = None if keep_logits is None else keep_logits.unique()
        inputs = forward_inputs(self.resolved.model, tokens, exists, columns=columns)
        with self.service.told_in_one_sentence():
            return trace(self.envoy, inputs, groups, values, keep=columns, backend=self.service.backend())


def _output(found: dict[Any, Any], keep: Tensor | None, tokens: Tensor) -> CausalLMOutputWithPast:
    fields = CausalLMOutputWithPast.__dataclass_fields__
    logits = found["logits"] if keep is None else logits_at(found["logits"], keep, tokens.shape[1])
    return CausalLMOutputWithPast(logits=logits, **{cache_name(fields): found.get("cache")})
