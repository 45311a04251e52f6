"""Rows of scores and pattern that were put in the place of those which an attention call computes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .rows import Rows, Wanted


@dataclass(frozen=True)
class WrittenRows:
    """What one patch wrote in one attention call.

    Attributes:
        places: Which of the forward's own tokens the rows are, ``[B, P]``.
        rows: Scores and pattern as they are now.
        changed: For which heads they are others than before, ``[B, P, H]``; never where a row does not exist.
    """

    places: Tensor
    rows: Rows
    changed: Tensor

    def over(self, found: Rows, wanted: Wanted, *, with_scores: bool = True) -> Rows:
        """Return rows that somebody else wants, with what was written where they are the same tokens'.

        Args:
            found: Rows of the same call; they may hold its last keys alone.
            wanted: Which they are.
            with_scores: Whether their scores are what the softmax is given, which is what was written.
        """
        places = wanted.on(self.changed.device)
        same = (places[:, :, None] == self.places[:, None]) & self.changed.any(dim=-1)[:, None]
        place = same.int().argmax(dim=-1)
        batch = torch.arange(len(place), device=place.device)[:, None]
        hit = (same.any(dim=-1)[..., None] & self.changed[batch, place])[..., None]
        keys = found.scores.shape[-1]
        pattern = torch.where(hit, self.rows.pattern()[batch, place][..., -keys:], found.pattern())
        scores = found.scores
        if with_scores:
            scores = torch.where(hit, self.rows.scores[batch, place][..., -keys:], scores)
        return replace(found, scores=scores, written_pattern=pattern)
