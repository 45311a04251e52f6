"""Top tokens of many distributions in two flat arrays, and those of one row of a study again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ...probes.distributions import TopTokens

if TYPE_CHECKING:
    import numpy as np

GROUP = "top_tokens"
"""The group of a study's arrays."""


class KeptTokens:
    """Top tokens as they come, those that come again once."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: list[TopTokens] = []
        self._places: dict[int, int] = {}
        self._next = 0

    def add(self, top: TopTokens) -> int:
        """Keep the top tokens of all queries, and return the place of the first query's.

        Args:
            top: They; the very same object is kept once.
        """
        # What is kept lives as long as this, so that its id is no other's.
        if id(top) not in self._places:
            self._places[id(top)] = self._next
            self._kept.append(top)
            self._next += len(top)
        return self._places[id(top)]

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return ``ids`` (int64) and ``logprobs`` (float64), both ``[D, K]`` of D distributions."""
        whole = TopTokens.concatenate(self._kept)
        return {"ids": whole.ids.numpy(), "logprobs": whole.logprobs.numpy()}


def kept_tokens(arrays: Mapping[str, np.ndarray], place: int, queries: int) -> TopTokens:
    """Return the top tokens of one row of a study.

    Args:
        arrays: As `KeptTokens.arrays` gives them.
        place: Of the first query's.
        queries: How many there are.
    """
    found = slice(place, place + queries)
    return TopTokens(torch.tensor(arrays["ids"][found]), torch.tensor(arrays["logprobs"][found]))
