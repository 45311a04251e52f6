"""What a table says of similarities without a value: how many, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ..analyses.comparison.draw import Draw
from ..analyses.comparison.measures import DELTA, PARTIAL


def undefined_notes(draws: Sequence[Draw]) -> tuple[str, ...]:
    """Return one sentence for each similarity that is undefined somewhere, none where all are defined.

    Args:
        draws: One or more draws of one model.
    """
    layers = len(draws[0].layers)
    values: Mapping[str, tuple[str, list[Tensor]]] = {
        "SimAOU": ("queries", [draw.sim_aou.values for draw in draws]),
        PARTIAL: ("queries", [draw.sim_aou_partial.values for draw in draws]),
        DELTA: ("queries × heads", [draw.sim_am_delta.values for draw in draws]),
    }
    return tuple(
        f"{name} is undefined {where}, where ICL or finetuning changed no more than rounding does: that has no "
        "direction, and the mean leaves it out."
        for name, (what, found) in values.items()
        if (where := _where(found, what, layers))
    )


def _where(values: Sequence[Tensor], what: str, layers: int) -> str:
    """Say in how many layers there is no value ``[N, L, ...]``, and how many are missing in the others."""
    missing = [each.isnan().transpose(0, 1).flatten(1) for each in values]
    whole = [int(each.all(1).sum()) for each in missing]
    left = sum(int(each[~each.all(1)].sum()) for each in missing)
    of = sum(each[~each.all(1)].numel() for each in missing)
    parts = []
    if any(whole):
        parts.append(f"in {_range(whole)} of {layers} layers")
    if left:
        parts.append(f"for {left:,} of {of:,} {what}{' in the others' if any(whole) else ' × layers'}")
    return " and ".join(parts)


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts := list(counts)), max(counts)
    return str(low) if low == high else f"{low} to {high}"
