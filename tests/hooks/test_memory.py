"""Capturing keeps nothing: not the model, not a tensor of an earlier forward."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import psutil
import pytest
import tiny_families
import torch
from expected_rows import SITES, prompt_set

from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.tap import tap


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("name", ["llama", pytest.param("gemma2", marks=pytest.mark.slow), "gptj"])
def test_memory_does_not_grow_over_200_forwards(name: str) -> None:
    model: Any = tiny_families.build(name)
    ids = torch.tensor([tiny_families.prompts(name)[2]])
    plan = CapturePlan(sites=SITES)
    process = psutil.Process()

    def run(forwards: int) -> None:
        with tap(model, plan) as recorder, torch.no_grad():
            for _ in range(forwards):
                model(input_ids=ids)
                recorder.take()
            assert recorder.recordings == []

    run(20)
    tensors, resident = live_tensors(), process.memory_info().rss
    run(200)
    assert live_tensors() == tensors
    assert process.memory_info().rss - resident < 8 << 20


def test_captures_leave_no_tensor_behind_but_their_own() -> None:
    model, prompts = tiny_families.build("llama"), prompt_set("llama", labels=True)
    got = capture(model, prompts)
    own = len(got.arrays())
    tensors = live_tensors()
    for _ in range(5):
        got = capture(model, prompts)
    assert live_tensors() == tensors
    del got
    assert live_tensors() == tensors - own


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_a_capture_holds_no_reference_to_the_model(name: str) -> None:
    model = tiny_families.fresh(name)
    alive = weakref.ref(model)
    got = capture(model, prompt_set(name, labels=True))
    with tap(model) as recorder, torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    tapped = recorder.capture()
    assert len(pickle.dumps(got)) < got.nbytes + 10_000
    del model, recorder
    gc.collect()
    assert alive() is None
    assert tapped.n == 1


def test_what_is_kept_owns_its_memory() -> None:
    model = tiny_families.build("llama")
    with tap(model, CapturePlan(sites=SITES, positions="all")) as recorder, torch.no_grad():
        model(input_ids=torch.tensor([tiny_families.prompts("llama")[0]]))
    for name, array in recorder.recordings[0].items():
        assert array.untyped_storage().nbytes() == array.nbytes, name
