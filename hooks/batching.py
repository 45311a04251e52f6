"""Which prompts run together: sorted by length, sized to memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..models.inner_width import inner_width
from ..models.loading import LanguageModel

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

# More prompts at once than this gain nothing: the cores are busy, and caches overflow. On a CPU small models are
# busy only with larger batches: this many numbers of hidden states.
_MOST_ON_CPU, MOST_ON_GPU = 16, 256
_NUMBERS_ON_CPU = 1 << 17
_FALLBACK_MEMORY = 4 << 30
_MEMORY = Path("/proc/meminfo")


# By what sizes that are chosen here are divided.
_DIVISOR: ContextVar[int] = ContextVar("_DIVISOR", default=1)


@contextmanager
def smaller_batches(divisor: int) -> Iterator[None]:
    """Choose batches of a part of the usual size while the block runs, for what ran out of memory.

    Args:
        divisor: By what sizes are divided.
    """
    before = _DIVISOR.set(divisor)
    try:
        yield
    finally:
        _DIVISOR.reset(before)


def chosen_part(size: int) -> int:
    """Return how many prompts run of those that would fit, inside `smaller_batches` fewer."""
    return max(1, size // _DIVISOR.get())


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, or a cautious guess where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _available_memory()


def _available_memory() -> int:
    """Return the bytes that are free, or that the system frees when asked, such as those of files that it caches."""
    try:
        with _MEMORY.open() as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return _FALLBACK_MEMORY


def held_memory() -> int:
    """Return the bytes of main memory that this process holds now; 0 where the system does not tell."""
    try:
        with Path("/proc/self/statm").open() as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def bytes_per_prompt(model: LanguageModel, tokens: int, past: int, forms_scores: bool = False) -> int:
    """Estimate what one prompt of a batch needs while it runs.

    Counts the keys and values of all layers, the largest layer's activations, the scores where attention
    forms them, and the logits of one position.

    Args:
        model: The model.
        tokens: Tokens that run.
        past: Cached tokens in front of them.
        forms_scores: Whether attention forms every score, whatever the model's own implementation does.
    """
    config = model.module.config.get_text_config()
    size = model.dtype.itemsize
    geometry = model.geometry
    cache = 2 * model.n_layers * geometry.key_value_heads * geometry.head_width * (past + tokens) * size
    activations = tokens * (8 * model.width + 3 * inner_width(model)) * size
    own = model.family.route == "functional" or model.attention_implementation == "eager"
    scores = 3 * geometry.heads * tokens * (past + tokens) * 4 if own or forms_scores else 0
    return cache + activations + scores + 3 * 4 * config.vocab_size


def choose_batch_size(model: LanguageModel, tokens: int, past: int, forms_scores: bool = False) -> int:
    """Return how many prompts fit into a quarter of the free memory, at least one.

    Args:
        model: The model.
        tokens: Tokens of the longest prompt that run.
        past: Cached tokens in front of them.
        forms_scores: Whether attention forms every score, whatever the model's own implementation does.
    """
    budget = free_memory(model.device) // 4
    most = MOST_ON_GPU
    if model.device.type != "cuda":
        most = min(most, max(_MOST_ON_CPU, _NUMBERS_ON_CPU // (tokens * model.width)))
    size = min(most, budget // bytes_per_prompt(model, tokens, past, forms_scores))
    return chosen_part(size)


def make_batches(
    lengths: Sequence[int],
    batch_size: int,
    *,
    equal_lengths: bool = False,
    kinds: Sequence[Hashable] | None = None,
) -> list[torch.Tensor]:
    """Group prompts of similar length, longest first, so that a lack of memory shows at once.

    Args:
        lengths: Tokens of each prompt.
        batch_size: Prompts in a batch at most.
        equal_lengths: Never pad: put only prompts of one length together.
        kinds: Put only prompts of one kind together.

    Returns:
        Indices of the prompts of each batch.
    """
    groups: dict[Hashable, list[int]] = {}
    for index in torch.tensor(lengths).argsort(descending=True, stable=True).tolist():
        key = (kinds[index] if kinds else None, lengths[index] if equal_lengths else None)
        groups.setdefault(key, []).append(index)
    return [batch for group in groups.values() for batch in torch.tensor(group).split(batch_size)]
