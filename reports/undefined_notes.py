"""What a table says of similarities without a value: how many, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..study.names import DELTA, PARTIAL

if TYPE_CHECKING:
    from ..study.columns import Frame

_COUNTED = {"SimAOU": "queries", PARTIAL: "queries", DELTA: "queries × heads"}


def undefined_notes(layers: Frame) -> tuple[str, ...]:
    """Return one sentence for each similarity that is undefined somewhere, none where all are defined.

    Args:
        layers: One row a draw, layer and measure; columns before ``layer`` tell draws apart.
    """
    notes = []
    for name, what in _COUNTED.items():
        where = _where(layers[layers["measure"] == name], what)
        if where:
            notes.append(
                f"{name} is undefined {where}, where ICL or finetuning changed no more than rounding does: that has "
                "no direction, and the mean leaves it out."
            )
    return tuple(notes)


def _where(rows: Frame, what: str) -> str:
    """Say in how many layers there is no value, and how many are missing in the others."""
    names = list(rows.columns)
    draw = names[: names.index("layer")]
    no_value = rows["defined"] == 0
    whole = no_value.groupby([rows[name] for name in draw], sort=False).sum()
    others = rows[~no_value]
    left, of = int((others["of"] - others["defined"]).sum()), int(others["of"].sum())
    parts = []
    if whole.any():
        low, high = int(whole.min()), int(whole.max())
        count = str(low) if low == high else f"{low} to {high}"
        parts.append(f"in {count} of {rows['layer'].nunique()} layers")
    if left:
        parts.append(f"for {left:,} of {of:,} {what}{' in the others' if parts else ' × layers'}")
    return " and ".join(parts)
