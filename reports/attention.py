"""Where attention goes: the sheet, and the shares by head and by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .attention_study_maps import map_figures
from .heatmap import draw_heatmap, layer_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_WHOLE = ("begin", "inputs", "labels", "separators", "query", "rest")
_COLOURS: dict[str, str] = dict(
    zip(_WHOLE, ("#bbbbbb", "#56b4e9", "#d55e00", "#f0e442", "#009e73", "#e5e5e5"), strict=True)
)
_MOST_HEADS = 10
_NOTES = (
    "Shares of the last token's attention in context, mean over queries, with bootstrap intervals; even: if it were "
    "even over all visible tokens; begin: on the first token, where attention goes that goes nowhere else. right: of "
    "the attention on labels, how much more is on labels that are the query's than if it were even; 0 tells nothing "
    "apart. predicted: the same for the label that the model answers.",
)


def attention_sheet(study: Study) -> Sheet:
    """Return the heads that look at labels most, those that prefer right labels most, and the shares by layer.

    Args:
        study: A study of attention.
    """
    ranked = study.tables["ranked"]
    columns = ("share on labels", "even", "right", "with permuted labels", "predicted")
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
    return sheet_of(study, tuple(blocks), (*found, *_NOTES))


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
    return {"heads": ranked_heads_figure, "layers": layer_shares_figure, **map_figures(study)}


def ranked_heads_figure(study: Study) -> Figure:
    """Draw by layer and head the share on labels, and the preference for right ones, labels permuted and not.

    Args:
        study: A study of attention.
    """
    ranked = study.tables["ranked"]
    panels = [("labels", "share on the demonstrations' labels"), ("right", "preference for right labels")]
    if ranked["right_permuted"].notna().any():
        panels.append(("right_permuted", "… with permuted labels"))
    maps = {
        name: ranked.pivot_table(index="layer", columns="head", values=name, dropna=False)
        for name, _ in panels
    }
    values = np.concatenate([maps[name].to_numpy(dtype=float).ravel() for name, _ in panels[1:]])
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    layers = maps["labels"].index.to_numpy()
    with style.figure_style():
        figure = style.new_figure(1.2 + 2.9 * len(panels), min(9.0, max(3.0, 2.0 + 0.16 * len(layers))))
        axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        images = []
        for each, (name, title) in zip(axes, panels, strict=True):
            table = maps[name].to_numpy(dtype=float)
            scale = (0.0, None, "viridis") if name == "labels" else (-limit, limit, "RdBu_r")
            images.append(draw_heatmap(each, table, *scale))
            each.set(title=title, xlabel="head")
        layer_ticks(axes[0], layers)
        axes[0].set_ylabel("layer")
        figure.colorbar(images[0], ax=axes[0], label="share", fraction=0.06, pad=0.03)
        figure.colorbar(images[-1], ax=list(axes[1:]), label="above an even share", fraction=0.06, pad=0.03)
        figure.suptitle(_title(study))
    return figure


def layer_shares_figure(study: Study) -> Figure:
    """Draw by layer how attention divides among the parts of a prompt, mean over heads, beside an even row.

    Args:
        study: A study of attention.
    """
    means = _means(study.tables["layers"], "none")
    layers = study.tables["layers"]
    even = layers[layers["control"] == "none"].groupby("part")["even"].mean()
    names = [*map(str, means.index), "even"]
    parts = [part for part in _WHOLE if means[part].max() > 0]
    with style.figure_style():
        figure = style.new_figure(5.6, min(9.0, max(2.8, 1.4 + 0.19 * len(names))))
        axes = figure.subplots()
        places = np.array([*range(len(means)), len(means) + 0.6])
        left = np.zeros(len(names))
        for part in parts:
            shares = np.array([*means[part], even[part]], dtype=float)
            axes.barh(places, shares, left=left, height=0.85, color=_COLOURS[part], label=part)
            left += shares
        step = max(1, -(-len(names) // 24))
        shown = [place for place in range(len(names)) if place % step == 0 or place == len(names) - 1]
        axes.set_yticks(places[shown], [names[place] for place in shown])
        axes.set(
            xlim=(0, max(1.0, float(left.max()))),
            xlabel="share of the last token's attention",
            ylabel="layer",
        )
        axes.grid(visible=False)
        figure.legend(loc="outside lower center", ncols=len(parts), frameon=False)
        figure.suptitle(_title(study))
    return figure


def _title(study: Study) -> str:
    config = study.config
    return f"{Path(config.model).name} on {config.task}, {config.shots} shots"
