"""What is timed: the bare forward, this toolkit's captures, and the reference procedure."""

from __future__ import annotations

from typing import Any

import torch

from iclprobe import Capture, LanguageModel, PromptSet, capture

from .material import full_batches


def bare_forward(model: LanguageModel, prompts: PromptSet, batch_size: int) -> None:
    """Run full prompts and look at nothing; logits of the last real tokens only, as in a capture."""
    for tokens, exists in full_batches(prompts, batch_size):
        last = (exists.sum(dim=1) - 1).unique()
        with torch.no_grad():
            model.module(input_ids=tokens, attention_mask=exists, use_cache=False, logits_to_keep=last)


def capture_full(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """Capture over full prompts: the tap alone, without the shared prefix."""
    return capture(model, prompts, batch_size=batch_size, share_prefix=False)


def capture_shared(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """Capture as users do: the prefix once."""
    return capture(model, prompts, batch_size=batch_size)


def capture_transformer_lens(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture, by TransformerLens."""
    return capture(model, prompts, batch_size=batch_size, engine="transformer-lens")


def capture_nnsight(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture, by nnsight."""
    return capture(model, prompts, batch_size=batch_size, engine="nnsight")


def reference(model: LanguageModel, prompts: PromptSet, batch_size: int) -> list[Any]:
    """Do what the papers' code does: one full prompt at a time, all attention maps kept, one row taken.

    Needs a model with eager attention, which alone returns its maps.
    """
    rows = []
    for index in range(prompts.n):
        ids = torch.tensor([prompts.full_ids(index)])
        with torch.no_grad():
            output = model.module(
                input_ids=ids, output_attentions=True, output_hidden_states=True, use_cache=False
            )
        maps = torch.stack(output.attentions)
        rows.append(maps[:, 0, :, -1, len(prompts.prefix_ids) :].tolist())
    return rows
