"""Batches measured on the longest prompt, and halved where memory runs out: real forwards under a meter of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tiny_families
import torch

from iclprobe.hooks import batch_probe
from iclprobe.hooks.batch_probe import in_halves, run_in_batches
from iclprobe.hooks.batching import smaller_batches
from iclprobe.hooks.capture import capture
from iclprobe.hooks.next_token import stream_next_token
from iclprobe.hooks.prompt_run import answer_batch, prepare_run, prompt_batch
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.tasks.prompt_set import PromptSet

EACH, SHARED = 1000, 70_000


class Meter:
    """Says that a forward takes so many bytes for each prompt, and some for all; sees the real forward."""

    def __init__(self, free: int) -> None:
        self.bytes_free = free
        self.batches: list[int] = []
        self._highest = 0

    def saw(self, batch: int) -> None:
        self.batches.append(batch)
        self._highest = max(self._highest, batch)

    def reset(self) -> None:
        self._highest = 0

    def held(self) -> int:
        return 123_456

    def peak(self) -> int:
        return self.held() + SHARED + EACH * self._highest

    def free(self) -> int:
        return self.bytes_free


@contextmanager
def watched(model: LanguageModel, seen: Any) -> Iterator[None]:
    """Tell of the prompts of every forward, before its first layer."""
    handle = model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen(len((args or tuple(kwargs.values()))[0])), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()


def prompts_of(count: int) -> PromptSet:
    drawn = tiny_families.random_ids
    return PromptSet(tuple(drawn(9, 1)), tuple(tuple(drawn(4 + each % 3, each)) for each in range(count)))


def sizes(model: LanguageModel, prompts: PromptSet, meter: Meter) -> list[int]:
    run = prepare_run(model, prompts, share_prefix=True, scoring="mean")
    with torch.no_grad(), watched(model, meter.saw):
        done = [
            indices
            for indices, _ in run_in_batches(
                run, "auto", lambda indices: answer_batch(run, prompt_batch(run, indices)), meter=meter
            )
        ]
    assert sorted(torch.cat(done).tolist()) == list(range(prompts.n))
    return [len(indices) for indices in done]


@pytest.mark.parametrize(
    ("free", "size"),
    [
        (2 * (SHARED + 16 * EACH), 16),
        (2 * (SHARED + 31 * EACH), 16),
        (2 * (SHARED + 32 * EACH), 32),
        (0, 1),
        (1 << 40, 256),
    ],
)
def test_a_batch_is_what_fits_into_half_of_the_free_memory(free: int, size: int) -> None:
    model = load_model(tiny_families.fresh("llama"))
    meter = Meter(free)
    assert sizes(model, prompts_of(70), meter)[0] == min(size, 70)
    assert meter.batches[:2] == [2, 8]


def test_settings_that_are_compared_run_in_the_same_batches() -> None:
    model = load_model(tiny_families.fresh("llama"))
    first = sizes(model, prompts_of(70), Meter(2 * (SHARED + 16 * EACH)))
    later = Meter(2 * (SHARED + 64 * EACH))
    assert sizes(model, prompts_of(70), later) == first
    assert later.batches == first
    with smaller_batches(4):
        assert sizes(model, prompts_of(70), later)[0] == first[0] // 4


def test_few_prompts_are_not_probed() -> None:
    model, meter = load_model(tiny_families.fresh("llama")), Meter(0)
    assert sizes(model, prompts_of(20), meter) == meter.batches


def test_a_probe_that_finds_no_memory_is_halved() -> None:
    model, meter = load_model(tiny_families.fresh("llama")), Meter(1 << 40)

    def saw(batch: int) -> None:
        if batch > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with watched(model, saw):
        assert sizes(model, prompts_of(70), meter)[0] == 4


def test_a_capture_that_runs_out_of_memory_goes_on_in_halves() -> None:
    model, prompts = load_model(tiny_families.fresh("llama")), prompts_of(11)
    expected: Any = capture(model, prompts, batch_size=1)
    ran: list[int] = []

    def saw(batch: int) -> None:
        ran.append(batch)
        if batch > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with watched(model, saw):
        found: Any = capture(model, prompts, batch_size=8)
    assert torch.allclose(found.attention_output, expected.attention_output, atol=1e-5)
    assert torch.allclose(found.scores, expected.scores, atol=1e-4)
    # The prefix; 8, then 4 of it, then twos, and never again more.
    assert ran == [1, 8, 4, 2, 2, 2, 2, 2, 1]
    assert not torch.nn.modules.module._global_forward_hooks
    again: Any = capture(model, prompts, batch_size=8)
    assert torch.allclose(again.attention_output, expected.attention_output, atol=1e-5)


def test_answers_go_on_in_halves_as_well() -> None:
    model, prompts = load_model(tiny_families.fresh("llama")), prompts_of(6)

    def saw(batch: int) -> None:
        if batch > 2:
            raise MemoryError

    with watched(model, saw):
        done = [indices for indices, _ in stream_next_token(model, prompts, batch_size=6)]
    assert sorted(torch.cat(done).tolist()) == list(range(6))


def test_what_no_halving_mends_is_raised() -> None:
    def none(_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def other(_: Any) -> None:
        raise ValueError("no matter of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_halves([torch.arange(4)], none))
    with pytest.raises(ValueError, match="no matter"):
        list(in_halves([torch.arange(4)], other))


def test_a_cpu_is_estimated() -> None:
    assert batch_probe.meter_of(torch.device("cpu")) is None
