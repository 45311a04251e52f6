"""Where attention goes: the sheet, and the shares by head and by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .attention_finetuned import FINETUNED_NOTE, finetuned_block, finetuned_heads_figure
from .attention_notes import study_title
from .attention_study_maps import map_figures
from .heatmap import add_colour_bar, draw_heatmap, height_of_rows, name_cells
from .panels import finish, panels
from .ticks import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_WHOLE = ("begin", "inputs", "labels", "separators", "query", "rest")
_MOST_HEADS = 10
_NOTES = (
    "Shares of the last token's attention in context, mean over queries, with bootstrap intervals; even: if it were "
    "even over all visible tokens; begin: on the first token, where attention goes that goes nowhere else. right: of "
    "the attention on labels, how much more is on those of the query's right label than if it were even; 0 tells "
    "nothing apart. right, labels permuted: the same where the demonstrations have each other's labels. as answered: "
    "the same for the label that the model answers, right or not.",
)


def attention_sheet(study: Study) -> Sheet:
    """Return the heads that look at labels most, those that prefer right labels most, and the shares by layer.

    Args:
        study: A study of attention.
    """
    ranked = study.tables["ranked"]
    columns = ("share on labels", "even", "right", "right, labels permuted", "as answered")
    chosen = {
        "look at labels most": ranked.sort_values("labels", ascending=False),
        # By the lower end: the largest of many means is large by chance.
        "prefer right labels most": ranked[ranked["right"].notna()].sort_values("right_low", ascending=False),
    }
    blocks = [
        Block(
            f"heads that {what}",
            columns,
            tuple(_ranked_row(row) for row in frame.head(_MOST_HEADS).itertuples()),
        )
        for what, frame in chosen.items()
        if len(frame)
    ]
    finetuned = study.tables["finetuned"]
    if len(finetuned):
        blocks.append(finetuned_block(finetuned))
    found = tuple(finding.sentence for finding in study.findings if finding.kind == "result")
    if not len(ranked):
        return sheet_of(study, (), found)
    means = _means(study.tables["layers"], "none")
    blocks.append(
        Block(
            "layer, % of attention on",
            _WHOLE,
            tuple(
                (str(layer), tuple((f"{100 * of_layer[part]:.1f}",) for part in _WHOLE))
                for layer, of_layer in means.iterrows()
            ),
        )
    )
    notes = (*_NOTES, FINETUNED_NOTE) if len(finetuned) else _NOTES
    return sheet_of(study, tuple(blocks), (*found, *notes))


def _ranked_row(row: Any) -> tuple[str, tuple[Cell, ...]]:
    return f"{row.layer}.{row.head}", (
        (f"{row.labels:.1%}", f"[{row.labels_low:.1%}, {row.labels_high:.1%}]"),
        (f"{row.labels_even:.1%}",),
        _signed(row.right, row.right_low, row.right_high),
        _signed(row.right_permuted, row.right_permuted_low, row.right_permuted_high),
        (f"{row.predicted:+.2f}",) if row.predicted == row.predicted else ("–",),
    )


def _signed(value: float, low: float, high: float) -> Cell:
    return ("–",) if value != value else (f"{value:+.2f}", f"[{low:+.2f}, {high:+.2f}]")


def _means(layers: Frame, control: str) -> Frame:
    """Return the shares of each layer, mean over draws: one row a layer, one column a part."""
    found = layers[layers["control"] == control]
    return found.pivot_table(index="layer", columns="part", values="share", dropna=False)


def attention_figures(study: Study) -> dict[str, Any]:
    """Return what draws each picture of a study.

    Args:
        study: A study of attention.
    """
    if not len(study.tables["ranked"]):
        return map_figures(study)
    finetuned = {"finetuned": finetuned_heads_figure} if len(study.tables["finetuned"]) else {}
    return {
        "heads": ranked_heads_figure,
        **finetuned,
        "layers": layer_shares_figure,
        **map_figures(study),
    }


def ranked_heads_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer and head the share on labels, and the preference for right ones, labels permuted and not.

    Args:
        study: A study of attention.
        width: In inches.
    """
    ranked = study.tables["ranked"]
    shown = [("labels", "share on the demonstrations' labels"), ("right", "preference for right labels")]
    if ranked["right_permuted"].notna().any():
        shown.append(("right_permuted", "null: … with permuted labels"))
    maps = {name: _by_head(ranked, name) for name, _ in shown}
    values = np.concatenate([maps[name].to_numpy(dtype=float).ravel() for name, _ in shown[1:]])
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    layers = maps["labels"].index.to_numpy(dtype=int)
    with style.figure_style():
        made = panels(width, len(shown), height=height_of_rows(len(layers)))
        images, marked, hatched = [], False, False
        for axes, (name, table) in zip(made.axes, maps.items(), strict=True):
            scale = (
                (0.0, None, style.RISING_COLOURS)
                if name == "labels"
                else (-limit, limit, style.DIVERGING_COLOURS)
            )
            images.append(draw_heatmap(axes, table.to_numpy(dtype=float), *scale))
            name_cells(axes, layers, table.columns.to_numpy(dtype=int), made.points)
            axes.set(xlabel="head")
            hatched |= bool(table.isna().any(axis=None))
            if name != "labels":
                marked |= _mark_sure_ones(axes, ranked, name)
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([title for _, title in shown])
        add_colour_bar(made.figure, images[0], made.axes[:1], "share")
        add_colour_bar(made.figure, images[-1], made.axes[1:], "above an even share")
        notes = [f"dots: the {100 * study.config.level:g}% interval leaves out 0" if marked else ""]
        notes.append("hatched: undefined" if hatched else "")
        finish(made.figure, title=study_title(study), notes=notes)
    return made.figure


def _by_head(ranked: Frame, name: str) -> Frame:
    return ranked.pivot_table(index="layer", columns="head", values=name, dropna=False)


def _mark_sure_ones(axes: Axes, ranked: Frame, name: str) -> bool:
    """Put a dot on every head whose interval leaves out 0, and return whether there is any."""
    low, high = (_by_head(ranked, f"{name}_{end}").to_numpy(dtype=float) for end in ("low", "high"))
    rows, columns = np.nonzero((low > 0) | (high < 0))
    size = float(np.clip(160 / max(low.shape), 1.0, 10.0))
    axes.scatter(columns, rows, s=size, color=style.INK, linewidths=0, gid="sure")
    return bool(len(rows))


def layer_shares_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer how attention divides among the parts of a prompt, mean over heads, beside an even row.

    Args:
        study: A study of attention.
        width: In inches.
    """
    means = _means(study.tables["layers"], "none")
    layers = study.tables["layers"]
    even = layers[layers["control"] == "none"].groupby("part")["even"].mean()
    parts = [part for part in _WHOLE if means[part].max() > 0]
    numbers = means.index.to_numpy(dtype=int)
    with style.figure_style():
        made = panels(width, 1, height=min(7.0, max(1.8, 0.8 + 0.15 * len(means))))
        (axes,) = made.axes
        places = np.array([*range(len(means)), len(means) + 0.6])
        left = np.zeros(len(places))
        for part in parts:
            shares = np.array([*means[part], even[part]], dtype=float)
            axes.barh(places, shares, left=left, height=0.85, color=style.PART_COLOURS[part], label=part)
            left += shares
        kept = thinned(len(numbers), 24)
        names = [*(str(numbers[place]) for place in kept), "null: even"]
        axes.set_yticks([*kept, float(places[-1])], names)
        axes.set(
            xlim=(0, max(1.0, float(left.max()))),
            ylim=(-0.7, float(places[-1]) + 0.7),
            xlabel="share of the last token's attention",
            ylabel="layer",
        )
        axes.grid(visible=False)
        finish(made.figure, title=study_title(study), notes=["mean over heads"])
    return made.figure
