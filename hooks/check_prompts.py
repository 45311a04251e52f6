"""The random prompts of a self-check, on both sides of each length at which attention changes if that is cheap."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..models.free_memory import free_memory
from ..models.loading import LanguageModel
from ..models.rotation import rotation_of
from ..seeds import derive_seed
from ..tasks.prompt_set import PromptSet

_TOKENS, _MOST_TOKENS = 64, 192
_BEYOND = 16
# Operations that one long prompt may take: seconds on a CPU, and on a GPU.
_MOST_ON_CPU, _MOST_ON_GPU = 2e11, 2e14


@dataclass(frozen=True)
class CheckPrompts:
    """What a self-check runs.

    Attributes:
        short: Three prompts behind a shared prefix, of which every row is compared.
        long: Two prompts, one of them beyond a further edge, of which the last row is compared; None if there is no
            such edge, or it is too far.
        edge: That edge.
        note: Which edges no prompt crosses.
    """

    short: PromptSet
    long: PromptSet | None
    edge: int
    note: str


def check_prompts(model: LanguageModel) -> CheckPrompts:
    """Draw prompts of random tokens, as long as the model's windows and boundaries ask for and cost allows."""
    windows, boundaries = _windows(model), _boundaries(model)
    context = model.context_length or max([_MOST_TOKENS, *(edge + _BEYOND for edge in windows | boundaries)])
    near = [edge for edge in windows | boundaries if edge + _BEYOND <= min(context, _MOST_TOKENS)]
    total = min(context, max([_TOKENS, *(edge + _BEYOND for edge in near)]))
    prefix, least = total // 2, total // 6
    if crossed := [edge for edge in boundaries if edge < total]:
        # The prefix and the shortest prompt stay below the boundary.
        prefix = min(prefix, max(1, min(crossed) // 2))
        least = max(1, min(least, min(crossed) - prefix))
    longest = total - prefix
    short = _draw(model, prefix, [longest, max(1, longest * 2 // 3), max(1, least)])
    far = sorted(edge for edge in windows | boundaries if edge >= total)
    reached = [edge for edge in far if _affordable(model, edge + _BEYOND, context)]
    long = None
    if reached:
        prefix = reached[-1] // 2
        long = _draw(model, prefix, [reached[-1] + _BEYOND - prefix, _BEYOND])
    note = "; ".join(
        f"prompts of {total} tokens do not exceed the {'window' if edge in windows else 'boundary'} of {edge}"
        for edge in far
        if edge not in reached
    )
    return CheckPrompts(short, long, reached[-1] if reached else 0, note)


def _windows(model: LanguageModel) -> set[int]:
    config = model.module.config.get_text_config()
    names = ("sliding_window", "window_size", "attention_chunk_size")
    return {int(size) for size in (getattr(config, name, None) for name in names) if size}


def _boundaries(model: LanguageModel) -> set[int]:
    return {boundary.length for boundary in rotation_of(model).boundaries}


def _affordable(model: LanguageModel, tokens: int, context: int) -> bool:
    """Tell whether a prompt fits the context, and takes seconds and little memory."""
    module, geometry = model.module, model.geometry
    embeddings = module.get_input_embeddings().weight.numel()  # type: ignore[union-attr, operator]
    weights = sum(parameter.numel() for parameter in module.parameters()) - embeddings
    operations = 2 * weights * tokens + 4 * model.n_layers * model.width * tokens**2
    forms_scores = model.family.route == "functional" or model.attention_implementation == "eager"
    kept = 4 * tokens * (3 * model.width + geometry.heads * tokens * forms_scores) * model.n_layers
    cheap = operations <= (_MOST_ON_GPU if model.device.type == "cuda" else _MOST_ON_CPU)
    return tokens <= context and cheap and kept <= free_memory(torch.device("cpu")) // 8


def _draw(model: LanguageModel, prefix: int, lengths: list[int]) -> PromptSet:
    vocabulary = model.module.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(derive_seed("self-check", vocabulary, prefix + lengths[0]))

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    return PromptSet(draw(prefix), tuple(draw(length) for length in lengths))
