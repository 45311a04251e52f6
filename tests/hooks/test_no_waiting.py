"""What runs inside the model's layer loop never waits for the device: numbers are looked at when the forward is over.

No GPU is needed to see it: what would wait needs a tensor's numbers on the host, or copies it there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tiny_families
import torch
from recorded_sites import refused
from tiny_families import FAMILIES
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import iclprobe.hooks.attention_sites
from iclprobe.errors import UserError
from iclprobe.hooks.patch import patch as patched
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.tap import tap
from iclprobe.models.loading import LanguageModel, load_model

_WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
}
"""Operations for which the host waits: their result, or its shape, depends on numbers."""
WRITTEN = tuple(site for site in SITES if site not in ("scores", "pattern"))
_TO_THE_HOST = ("cpu", "numpy", "tolist", "item", "__bool__", "__int__", "__float__", "__index__")


class Waits(TorchDispatchMode):
    """Counts what would make the host wait between the beginning of the first layer and the end of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self.in_loop = False

    def begin(self, *_: Any) -> None:
        self.in_loop = True

    def end(self, *_: Any) -> None:
        self.in_loop = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.in_loop:
            name = func._schema.name
            by_mask = name.startswith("aten::index") and any(
                isinstance(index, Tensor) and index.dtype == torch.bool
                for group in args
                if isinstance(group, list | tuple)
                for index in group
            )
            if name in _WAITING or by_mask:
                self.counted[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counting(model: LanguageModel, patch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Count in what runs inside, whose own hooks are put on inside as well."""
    waits = Waits()

    def counted(name: str) -> Any:
        original = getattr(Tensor, name)

        def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if waits.in_loop:
                waits.counted[name] += 1
            return original(self, *args, **kwargs)

        return call

    with patch.context() as within, waits:
        for name in _TO_THE_HOST:
            within.setattr(Tensor, name, counted(name))
        yield waits


def waits_of(
    model: LanguageModel, plan: CapturePlan | None, patch: pytest.MonkeyPatch, values: Any = None
) -> Counter[str]:
    """Count what waits in a forward: untouched, under a tap of a plan, or under a patch that writes values."""
    batch = {"input_ids": torch.tensor([[5, 9, 12, 33], [7, 8, 0, 0]])}
    batch["attention_mask"] = (batch["input_ids"] > 0).long()
    handles = []
    with counting(model, patch) as waits, torch.no_grad():
        handles.append(model.layers[0].register_forward_pre_hook(waits.begin))
        if plan is not None and values is not None:
            with patched(model, plan, values):
                handles.append(model.layers[-1].register_forward_hook(waits.end))
                model.module(**batch)
        elif plan is None:
            handles.append(model.layers[-1].register_forward_hook(waits.end))
            model.module(**batch)
        else:
            with tap(model, plan) as recorder:
                # Behind the tap's own hook on the last layer.
                handles.append(model.layers[-1].register_forward_hook(waits.end))
                model.module(**batch)
            assert set(plan.sites) <= recorder.recordings[0].keys()
    for handle in handles:
        handle.remove()
    return waits.counted


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_tap_waits_for_nothing_inside_the_layer_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_families.fresh(name))
    sites: Any = tuple(site for site in SITES if site not in refused(name))
    plan = CapturePlan(sites=sites, positions="all")
    assert waits_of(model, plan, monkeypatch) == waits_of(model, None, monkeypatch)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_patch_waits_for_nothing_inside_the_layer_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where everything is what stands there already nor where everything changes."""
    model = load_model(tiny_families.fresh(name))
    untouched = waits_of(model, None, monkeypatch)
    others = tuple(site for site in WRITTEN if site not in refused(name))
    chosen: list[Any] = [("scores",), ("pattern",), others]
    for sites in chosen:
        plan = CapturePlan(sites=sites, positions="all")
        for factor in (1.0, 1.5):

            def written(site: str, layer: int, computed: Tensor, factor: float = factor) -> Tensor:
                return computed * factor

            assert waits_of(model, plan, monkeypatch, written) == untouched, sites


def test_what_waits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = iclprobe.hooks.attention_sites.score_rows
    model = load_model(tiny_families.fresh("llama"))
    plan = CapturePlan(sites=("scores",), positions="all")
    waiting: list[tuple[Any, str]] = [
        (lambda query: query.cpu(), "cpu"),
        (lambda query: bool((query > 0).any()), "aten::_local_scalar_dense"),
        (lambda query: torch.equal(query, query), "aten::equal"),
        (lambda query: query[query > 0], "aten::index"),
        (lambda query: (query > 0).nonzero(), "aten::nonzero"),
    ]
    for wait, counted in waiting:

        def slow(query: Tensor, *args: Any, wait: Any = wait, **kwargs: Any) -> Any:
            wait(query)
            return original(query, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(iclprobe.hooks.attention_sites, "score_rows", slow)
            assert waits_of(model, plan, monkeypatch)[counted] == len(model.layers)


def test_keys_that_repeat_nothing_are_refused_when_the_forward_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the heads of a group have the same keys, only their numbers tell."""
    model = load_model(tiny_families.fresh("falcon_grouped"))
    heads = model.geometry.heads
    original = iclprobe.hooks.attention_sites.take_rows

    def unlike(tensor: Tensor, rows: Tensor) -> Tensor:
        taken = original(tensor, rows)
        if taken.shape[2] == heads:
            taken[:, :, 1] += 1.0
        return taken

    monkeypatch.setattr(iclprobe.hooks.attention_sites, "take_rows", unlike)
    with (
        pytest.raises(UserError, match=f"layer 0 .* gave keys of {heads} heads and not 2"),
        tap(model, CapturePlan(sites=("queries", "keys"), positions="all")),
    ):
        model.module(torch.tensor([[5, 9, 12]]))
    assert torch.isfinite(model.module(torch.tensor([[5, 9, 12]])).logits).all()
