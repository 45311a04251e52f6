"""How far what one engine records is from what another does."""

from __future__ import annotations

import math
from typing import Any

import tiny_families
import torch

from iclprobe.hooks.captured import Capture
from iclprobe.hooks.plan import SITES, CapturePlan, Site
from iclprobe.tasks.prompts import PromptSet

# The native engine attends to a shared prefix and to own tokens apart, others to all at once: both round, in fp32.
EXACT = 2e-5
"""Relative to the largest entry of a row."""

CALL: tuple[Site, ...] = ("attention_output", "scores", "pattern")


def prompts_of(name: str, labels: bool = False) -> PromptSet:
    """Queries of three lengths behind a prefix, all longer than a sliding window."""
    queries = tuple(tuple(ids) for ids in tiny_families.prompts(name)[:3])
    options = ((7, 8, 9), (11, 12), (13,))
    return PromptSet(
        tuple(tiny_families.prefix(name)),
        queries,
        (options,) * 3 if labels else (),
        (0, 1, 2) if labels else (),
    )


def worst(one: Capture, other: Capture) -> dict[str, float]:
    """The worst entry of each site, relative to the largest of its row; infinite where other keys are visible."""
    found = {}
    for site in SITES:
        want, got = getattr(one, site), getattr(other, site)
        assert (want is None) == (got is None), site
        if want is None:
            continue
        largest = want.abs().amax(dim=-1, keepdim=True).clamp(min=1e-3 * float(want.abs().max()))
        found[site] = float(((want - got).abs() / largest).max())
        assert not math.isnan(found[site]), site
    if one.visible is not None:
        assert other.visible is not None
        if not torch.equal(one.visible, other.visible):
            found["visible"] = math.inf
    return found


def plan_of(*sites: Any, **options: Any) -> CapturePlan:
    """All columns of the first, the fourth and the last token of each query."""
    return CapturePlan(sites=sites, **({"columns": "all", "positions": (0, 3, -1)} | options))
