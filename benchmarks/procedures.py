"""The one table of what is timed: the bare forward, the floor, captures by every engine, the papers' procedure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from iclprobe import Capture, LanguageModel, PromptSet, capture

from .material import batches_of_tokens


@dataclass(frozen=True)
class Procedure:
    """One way of running queries behind a prefix.

    Attributes:
        title: What a table calls it.
        run: Given the model, the prompts and how many run at once.
        whole: Whether every query runs with the prefix in front, so that its time is one of each query.
        attention: The attention implementation that it needs.
        package: What has to be installed.
    """

    title: str
    run: Callable[[LanguageModel, PromptSet, int], Any]
    whole: bool
    attention: str = "sdpa"
    package: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether what it needs is installed."""
        return self.package is None or find_spec(self.package) is not None


def bare_forward(model: LanguageModel, prompts: PromptSet, batch_size: int) -> None:
    """Run whole prompts and look at nothing; logits of the last tokens only, as in a capture."""
    for tokens in batches_of_tokens(prompts, batch_size, whole=True):
        _forward(model, tokens)


def floor(model: LanguageModel, prompts: PromptSet, batch_size: int) -> None:
    """Run the prefix once and then the queries alone, which do not attend to it: less is not possible."""
    _forward(model, torch.tensor([prompts.prefix_ids]), use_cache=True)
    for tokens in batches_of_tokens(prompts, batch_size, whole=False):
        _forward(model, tokens)


def _forward(model: LanguageModel, tokens: torch.Tensor, *, use_cache: bool = False) -> Any:
    with torch.no_grad():
        return model.module(input_ids=tokens, use_cache=use_cache, logits_to_keep=1)


def native(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """Capture as users do: the prefix once."""
    return capture(model, prompts, batch_size=batch_size)


def native_whole(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """Capture over whole prompts: the tap alone."""
    return capture(model, prompts, batch_size=batch_size, share_prefix=False)


def transformer_lens(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture by TransformerLens, over whole prompts, as it runs them by itself."""
    return capture(model, prompts, batch_size=batch_size, engine="transformer-lens", share_prefix=False)


def transformer_lens_shared(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture by TransformerLens, given the prefix's keys and values."""
    return capture(model, prompts, batch_size=batch_size, engine="transformer-lens")


def nnsight(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture by nnsight, over whole prompts, as it runs them by itself."""
    return capture(model, prompts, batch_size=batch_size, engine="nnsight", share_prefix=False)


def nnsight_shared(model: LanguageModel, prompts: PromptSet, batch_size: int) -> Capture:
    """The same capture by nnsight, given the prefix's keys and values."""
    return capture(model, prompts, batch_size=batch_size, engine="nnsight")


def reference(model: LanguageModel, prompts: PromptSet, batch_size: int) -> list[Any]:
    """Do what the papers' code does: one whole prompt at a time, all attention maps kept, one row taken.

    Needs a model with eager attention, which alone returns its maps.
    """
    assert batch_size == 1, "the papers' code runs one prompt at a time"
    rows = []
    for (ids,) in batches_of_tokens(prompts, 1, whole=True):
        with torch.no_grad():
            output = model.module(
                input_ids=ids[None], output_attentions=True, output_hidden_states=True, use_cache=False
            )
        maps = torch.stack(output.attentions)
        rows.append(maps[:, 0, :, -1, len(prompts.prefix_ids) :].tolist())
    return rows


_LENS, _NNSIGHT = "transformer_lens", "nnsight"
PROCEDURES: Mapping[str, Procedure] = {
    "floor": Procedure("floor: prefix once, queries alone", floor, whole=False),
    "native": Procedure("native capture", native, whole=False),
    "bare_forward": Procedure("bare forward, whole prompts, nothing recorded", bare_forward, whole=True),
    "native_whole": Procedure("native capture, whole prompts", native_whole, whole=True),
    "transformer_lens": Procedure(
        "TransformerLens, whole prompts", transformer_lens, whole=True, package=_LENS
    ),
    "nnsight": Procedure("nnsight, whole prompts", nnsight, whole=True, package=_NNSIGHT),
    "reference": Procedure(
        "the papers' procedure: one prompt at a time, every attention map", reference, True, "eager"
    ),
    "transformer_lens_shared": Procedure(
        "TransformerLens, given our shared prefix", transformer_lens_shared, whole=False, package=_LENS
    ),
    "nnsight_shared": Procedure(
        "nnsight, given our shared prefix", nnsight_shared, whole=False, package=_NNSIGHT
    ),
}
