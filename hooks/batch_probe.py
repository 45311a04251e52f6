"""How many prompts run at once on a GPU: measured on the longest one, and halved where memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import lacks_memory
from ..models.free_memory import free_memory
from .batching import MOST_ON_GPU, chosen_part
from .prompt_run import PromptRun, batches_of

Result = TypeVar("Result")

_PROBES = (2, 8)
"""Prompts that run to see what one of them takes: the difference leaves out what they share."""
_WORTH_A_PROBE = 64
_SHARE = 0.5
"""Of the free memory; the rest is for what is fragmented, and for whoever else computes there."""
_SIZES: WeakKeyDictionary[nn.Module, dict[tuple[int, int, bool], int]] = WeakKeyDictionary()


class MemoryMeter(Protocol):
    """What tells how much memory a device holds."""

    def reset(self) -> None:
        """Begin to look for a new peak."""
        ...

    def held(self) -> int:
        """Return the bytes that are allocated now."""
        ...

    def peak(self) -> int:
        """Return the most bytes that were allocated since the last reset."""
        ...

    def free(self) -> int:
        """Return the bytes that are still to be had."""
        ...


class CudaMemory:
    """What torch's allocator tells of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def reset(self) -> None:
        """Begin to look for a new peak."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def held(self) -> int:
        """Return the bytes that are allocated now."""
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        """Return the most bytes that were allocated since the last reset."""
        return torch.cuda.max_memory_allocated(self.device)

    def free(self) -> int:
        """Return the bytes that are still to be had, what the allocator holds unused included."""
        unused = torch.cuda.memory_reserved(self.device) - self.held()
        return free_memory(self.device) + unused


def meter_of(device: torch.device) -> MemoryMeter | None:
    """Return what tells of a device's memory, None where nothing tells what a forward took at most."""
    return CudaMemory(device) if device.type == "cuda" else None


def run_in_batches(
    run: PromptRun,
    batch_size: int | str,
    work: Callable[[Tensor], Result],
    *,
    forms_scores: bool = False,
    meter: MemoryMeter | None = None,
) -> Iterator[tuple[Tensor, Result]]:
    """Yield the indices of each batch of prompts with what was made of them.

    Args:
        run: The prompts.
        batch_size: Prompts at once; ``auto`` is measured where a device tells its peak, else estimated.
        work: Runs the prompts of some indices.
        forms_scores: Whether what runs the model forms every score.
        meter: What tells of the memory; that of the model's device, if nothing is said.

    Raises:
        UserError: As of `batches_of`.
    """
    meter = meter or meter_of(run.model.device)
    if batch_size == "auto" and meter is not None and run.prompts.n >= _WORTH_A_PROBE:
        batch_size = probed_batch_size(run, work, meter, forms_scores=forms_scores)
    yield from in_halves(batches_of(run, batch_size, forms_scores), work)


def probed_batch_size(
    run: PromptRun, work: Callable[[Tensor], object], meter: MemoryMeter, *, forms_scores: bool = False
) -> int:
    """Return how many of the longest prompts fit into half of the free memory: a power of two, at most 256.

    Two small batches run and are forgotten. The answer is kept for the model and the lengths, so that settings which
    are compared run in the same batches.

    Args:
        run: The prompts.
        work: Runs the prompts of some indices.
        meter: What tells of the memory.
        forms_scores: Whether what runs the model forms every score.
    """
    lengths = [len(ids) for ids in run.prompts.query_ids]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    known = _SIZES.setdefault(run.model.module, {})
    key = (len(run.lead) + lengths[longest], run.past, forms_scores)
    if key not in known:
        known[key] = _measured(longest, work, meter)
    return chosen_part(known[key])


def _measured(longest: int, work: Callable[[Tensor], object], meter: MemoryMeter) -> int:
    free, taken = meter.free(), []
    for count in _PROBES:
        before = meter.held()
        meter.reset()
        try:
            work(torch.full((count,), longest))
        except Exception as error:
            if not lacks_memory(error):
                raise
            return max(1, count // 2)
        taken.append(meter.peak() - before)
    few, many = _PROBES
    each = (taken[1] - taken[0]) / (many - few)
    shared = max(0.0, taken[0] - few * each)
    fit = MOST_ON_GPU if each <= 0 else int((_SHARE * free - shared) // each)
    return 1 << (min(MOST_ON_GPU, max(1, fit)).bit_length() - 1)


def in_halves(batches: Iterable[Tensor], work: Callable[[Tensor], Result]) -> Iterator[tuple[Tensor, Result]]:
    """Yield each batch's indices with what was made of it; one that finds no memory runs as two halves.

    So do later ones of its size. A single prompt for which there is no memory is nobody's to halve.
    """
    waiting, most = deque(batches), 0
    while waiting:
        indices = waiting.popleft()
        if most and len(indices) > most:
            waiting.extendleft(reversed(indices.split(most)))
            continue
        try:
            result = work(indices)
        except Exception as error:
            if not lacks_memory(error) or len(indices) == 1:
                raise
            most = (len(indices) + 1) // 2
        else:
            yield indices, result
            continue
        # Behind the handler, or the traceback would still hold what ran.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        waiting.extendleft(reversed(indices.split(most)))
