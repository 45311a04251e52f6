"""transformers renamed ``past_key_values`` to ``cache`` in 5.24: every model is asked in its own words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

import iclprobe
from iclprobe.hooks.forward import forward_inputs
from iclprobe.hooks.prefix import cache_of


@dataclass
class Renamed:
    """An output as 5.24 has it: the old name warns."""

    cache: Any = None

    @property
    def past_key_values(self) -> Any:
        warnings.warn("deprecated", FutureWarning, stacklevel=2)
        return self.cache


def test_keys_and_values_are_given_and_read_under_the_name_that_the_model_has() -> None:
    model = iclprobe.load_model("pocket", device="cpu")
    tokens = torch.ones(1, 2, dtype=torch.long)
    for name in ("cache", "past_key_values"):
        taking = SimpleNamespace(arguments={"input_ids", name}, device=model.device)
        inputs = forward_inputs(taking, tokens, tokens.bool(), cache="kept")  # pyright: ignore[reportArgumentType]
        assert inputs[name] == "kept" and len({"cache", "past_key_values"} & set(inputs)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_of(Renamed("kept")) == "kept" and cache_of(Renamed()) is None
    assert cache_of(SimpleNamespace(past_key_values="kept")) == "kept"
