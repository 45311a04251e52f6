"""The heads that look at labels, and whether finetuning moves the same ones: four panels of layers and heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Cell
from . import style
from .attention_notes import study_title
from .heatmap import add_colour_bar_below, draw_heatmap, height_of_rows, name_cells
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_PANELS = {
    "labels": ("share on labels", "share"),
    "icl": ("moved by ICL", "total variation"),
    "ft": ("moved by finetuning", "total variation"),
    "same": ("same direction", "SimAM of changes"),
}
_RINGS = "heads that look at labels: at least half the share of the first"
_MOST_HEADS = 10
_BAR, _LEAST = 0.45, 1.6
"""What a colour bar below a panel takes, and how wide a panel has to be, in inches."""
FINETUNED_NOTE = (
    "moved: the share of the last token's attention over the query's own tokens that lies elsewhere than zero-shot "
    "(total variation of the softmax over these tokens alone, without a token that begins the zero-shot prompt, to "
    "which attention goes that goes nowhere else). same direction: SimAM of the two changes of the scores; null: "
    "with the ICL scores of other queries."
)


def finetuned_block(finetuned: Frame) -> Block:
    """Return the heads that look at labels most, with how far ICL and finetuning move them.

    Args:
        finetuned: The table of the changes, one row a head.
    """
    first = finetuned.sort_values("labels", ascending=False).head(_MOST_HEADS)
    return Block(
        "heads that look at labels most",
        ("share on labels", "moved by ICL", "moved by finetuning", "same direction", "its null"),
        tuple((f"{row.layer}.{row.head}", _cells(row)) for row in first.itertuples()),
    )


def _cells(row: Any) -> tuple[Cell, ...]:
    return (
        (f"{row.labels:.1%}",),
        *(
            (
                f"{getattr(row, name):.2g}",
                f"[{getattr(row, f'{name}_low'):.2g}, {getattr(row, f'{name}_high'):.2g}]",
            )
            for name in ("icl", "ft")
        ),
        ("–",)
        if row.same != row.same
        else (f"{row.same:+.2f}", f"[{row.same_low:+.2f}, {row.same_high:+.2f}]"),
        ("–",) if row.same_null != row.same_null else (f"{row.same_null:+.2f}",),
    )


def finetuned_heads_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer and head the share on labels, what ICL and finetuning move, and whether in one direction.

    Args:
        study: A study of attention with the finetuned setting.
        width: In inches.
    """
    table = study.tables["finetuned"]
    maps = {
        name: table.pivot_table(index="layer", columns="head", values=name, dropna=False) for name in _PANELS
    }
    ringed = table[table["label_head"].astype(bool)]
    layers = maps["labels"].index.to_numpy(dtype=int)
    heads = maps["labels"].columns.to_numpy(dtype=int)
    with style.figure_style():
        made = panels(width, len(maps), height=height_of_rows(len(layers)) + _BAR, least=_LEAST)
        handle: Any = None
        for axes, (name, values) in zip(made.axes, maps.items(), strict=True):
            scale = (
                (-1.0, 1.0, style.DIVERGING_COLOURS) if name == "same" else (0.0, None, style.RISING_COLOURS)
            )
            image = draw_heatmap(axes, values.to_numpy(dtype=float), *scale)
            name_cells(axes, layers, heads, made.points)
            axes.set(xlabel="head")
            handle = _ring(axes, ringed, layers, heads)
            ticks = (-1, 0, 1) if name == "same" else None
            add_colour_bar_below(made.figure, image, axes, _PANELS[name][1], ticks)
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([title for title, _ in _PANELS.values()])
        hatched = any(values.isna().any(axis=None) for values in maps.values())
        notes = [
            "moved: share of the last token's attention over the query that lies elsewhere than zero-shot; panels "
            "have scales of their own",
            "hatched: undefined (changed by rounding alone)" if hatched else "",
        ]
        finish(made.figure, title=study_title(study), notes=notes, more=[handle] if len(ringed) else [])
    return made.figure


def _ring(axes: Axes, ringed: Frame, layers: np.ndarray, heads: np.ndarray) -> Any:
    """Put a ring on every head that looks at labels."""
    from matplotlib.patheffects import withStroke

    size = float(np.clip(900 / max(len(layers), len(heads)), 8.0, 60.0))
    return axes.scatter(
        np.searchsorted(heads, ringed["head"].to_numpy(dtype=int)),
        np.searchsorted(layers, ringed["layer"].to_numpy(dtype=int)),
        s=size,
        facecolors="none",
        edgecolors=style.INK,
        linewidths=0.9,
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
        gid="label heads",
        label=_RINGS,
    )
