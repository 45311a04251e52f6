"""How many entries of weights are near zero: the sheet, and the figures by threshold, layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import MATRIX_NAMES
from ..study.sheet import Block, Sheet, sheet_of
from . import style
from .figure_text import subject_title
from .heatmap import add_colour_bar, draw_heatmap, height_of_rows, name_cells
from .intervals import draw_band
from .numbers import number
from .panels import finish, panels
from .style import MATRIX_COLOURS
from .ticks import around, name_layers, room_for, scale_by_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_CONSTRUCTED = (("W_Q, W_K", "query", ":"), ("W_V", "value", "--"))
"""Of the construction W_Q and W_K are alike: what they are called, where they stand, and their line."""
_MOMENTS = {
    "mean_absolute": "mean |w|",
    "standard_deviation": "std",
    "excess_kurtosis": "excess kurtosis",
    "stable_rank": "stable rank",
}


def sparsity_sheet(study: Study) -> Sheet:
    """Return fractions by threshold, mean over layers, beside the construction's, and how entries are spread.

    Args:
        study: A study of sparsity.
    """
    averages, constructed = study.tables["averages"], _constructed(study.tables["construction"])
    thresholds = tuple(f"{threshold:g}" for threshold in dict.fromkeys(averages["threshold"]))
    absolute = [
        *_percentages(averages, "below"),
        *(
            (f"constructed {name}", ((number(100 * constructed[matrix], ".2f"),),) * len(thresholds))
            for name, matrix, _ in _CONSTRUCTED
            if matrix in constructed
        ),
    ]
    relative = _percentages(averages, "below_relative")
    spread = [
        (
            MATRIX_NAMES[matrix],
            tuple((number(float(of_matrix[name].to_numpy().mean())),) for name in _MOMENTS),
        )
        for matrix, of_matrix in study.tables["matrices"].groupby("matrix", sort=False)
    ]
    blocks = (
        Block("entries with |w| < δ (%), mean over layers", thresholds, tuple(absolute)),
        Block("the same with δ in standard deviations", thresholds, tuple(relative)),
        Block("mean over layers", tuple(_MOMENTS.values()), tuple(spread)),
    )
    return sheet_of(study, blocks)


def _percentages(averages: Frame, column: str) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
    return [
        (MATRIX_NAMES[matrix], tuple((number(100 * value, ".2f"),) for value in of_matrix[column]))
        for matrix, of_matrix in averages.groupby("matrix", sort=False)
    ]


def _constructed(construction: Frame) -> dict[str, float]:
    return dict(zip(construction["matrix"], construction["below"], strict=True))


def sparsity_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the fraction of entries below δ against δ, mean over layers, with the construction's (Shen et al. Fig. 2).

    Args:
        study: A study of sparsity.
        width: In inches.
    """
    return threshold_figure(
        study.tables["averages"],
        study.tables["construction"],
        study.tables["fractions"],
        title=f"{subject_title(study.config)}: sparsity, mean over layers",
        width=width,
    )


def threshold_figure(
    averages: Frame,
    construction: Frame,
    fractions: Frame,
    *,
    title: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw the fraction of entries below δ against δ, mean over layers, beside von Oswald's construction.

    The first panel takes δ as it is (Shen et al. Fig. 2), the second one in standard deviations of each matrix. Bands
    reach from the least sparse layer to the most sparse one.

    Args:
        averages: One row a matrix and threshold.
        construction: One row a matrix.
        fractions: One row a layer, matrix and threshold.
        title: What stands above.
        width: In inches.
    """
    constructed = _constructed(construction)
    with style.figure_style():
        made = panels(width, 2, height=2.3)
        for axes, column in zip(made.axes, ("below", "below_relative"), strict=True):
            drawn = [100 * averages[column].to_numpy(dtype=float)]
            for matrix, rows in averages.groupby("matrix", sort=False):
                ordered = rows.sort_values("threshold")
                places = ordered["threshold"].to_numpy(dtype=float)
                over_layers = fractions[fractions["matrix"] == matrix].groupby("threshold")[column]
                low, high = (
                    100 * ends.loc[places].to_numpy() for ends in (over_layers.min(), over_layers.max())
                )
                draw_band(axes, places, low, high, MATRIX_COLOURS[str(matrix)])
                axes.plot(
                    places,
                    100 * ordered[column].to_numpy(dtype=float),
                    "o-",
                    color=MATRIX_COLOURS[str(matrix)],
                    label=MATRIX_NAMES[str(matrix)],
                )
                drawn += [low, high]
            for name, matrix, line in _CONSTRUCTED:
                if column == "below" and matrix in constructed:
                    drawn.append(np.array([100 * constructed[matrix]]))
                    axes.axhline(
                        100 * constructed[matrix],
                        color=style.WEIGHT_COLOURS["constructed"],
                        linestyle=line,
                        linewidth=1.2,
                        label=f"constructed {name}",
                    )
            axes.set_xscale("log")
            said = scale_by_size(axes, "y", np.concatenate(drawn))
            axes.set(
                xlabel="δ" if column == "below" else "δ (standard deviations of the matrix)",
                ylabel=f"entries with |w| < δ\n(%{said})",
            )
        made.title(["absolute", "relative to the matrix's spread"])
        layers = fractions["layer"].nunique()
        finish(made.figure, title=title, intervals=f"range over {layers} layers")
    return made.figure


def layers_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the fraction of entries below each δ by layer (Shen et al. Fig. 10).

    Args:
        study: A study of sparsity.
        width: In inches.
    """
    title = f"{subject_title(study.config)}: sparsity by layer"
    return layer_figure(study.tables["fractions"], title=title, width=width)


def layer_figure(
    fractions: Frame, *, relative: bool = False, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw the fraction of entries below each δ by layer, one panel a matrix (Shen et al. Fig. 10).

    Args:
        fractions: One row a layer, matrix and threshold.
        relative: Whether δ counts in standard deviations of each matrix.
        title: What stands above.
        width: In inches.
    """
    matrices = list(dict.fromkeys(fractions["matrix"]))
    thresholds = list(dict.fromkeys(fractions["threshold"]))
    column = "below_relative" if relative else "below"
    unit = "δ in standard deviations of the matrix" if relative else "δ"
    with style.figure_style():
        made = panels(width, len(matrices), height=2.2)
        for axes, matrix in zip(made.axes, matrices, strict=True):
            of_matrix = fractions[fractions["matrix"] == matrix]
            for colour, threshold in zip(style.ordered_colours(len(thresholds)), thresholds, strict=True):
                rows = of_matrix[of_matrix["threshold"] == threshold].sort_values("layer")
                axes.plot(
                    rows["layer"].to_numpy(int),
                    100 * rows[column].to_numpy(dtype=float),
                    "o-",
                    color=colour,
                    label=f"{'δ' if not relative else 'δ (std)'} = {threshold:g}",
                )
            layers = sorted(set(of_matrix["layer"]))
            name_layers(axes.xaxis, layers, most=room_for(layers, made.points))
            said = scale_by_size(axes, "y", 100 * fractions[column].to_numpy(dtype=float))
            axes.set(xlabel="layer", xlim=around(layers))
            if axes in made.left:
                axes.set_ylabel(f"entries with |w| < δ\n(%{said})")
        made.title([MATRIX_NAMES[matrix] for matrix in matrices])
        finish(made.figure, title=title, notes=[unit] if relative else [])
    return made.figure


def heads_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the fraction of entries below the largest δ by layer and head.

    Args:
        study: A study of sparsity; where heads are unknown the figure says so.
        width: In inches.
    """
    heads, title = study.tables["heads"], f"{subject_title(study.config)}: sparsity by head"
    if set(heads["matrix"]) == set(study.tables["matrices"]["matrix"]):
        return head_figure(heads, title=title, width=width)
    with style.figure_style():
        figure = style.new_figure(width, 0.4)
        unknown = "the heads of this checkpoint are unknown: give its family"
        finish(figure, title=title, notes=[unknown])
    return figure


def head_figure(
    heads: Frame, threshold: float | None = None, *, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw the fraction of entries below one δ by layer and head, one panel a matrix.

    Args:
        heads: One row a layer, matrix, head and threshold.
        threshold: One of the measured thresholds; by default the largest.
        title: What stands above.
        width: In inches.

    Raises:
        ValueError: If the threshold was not measured.
    """
    measured = list(dict.fromkeys(heads["threshold"]))
    chosen = max(measured) if threshold is None else threshold
    if chosen not in measured:
        raise ValueError(f"threshold {chosen:g} was not measured: {measured} were")
    at = heads[heads["threshold"] == chosen]
    maps = {
        str(matrix): 100 * of_matrix.pivot(index="layer", columns="head", values="below")
        for matrix, of_matrix in at.groupby("matrix", sort=False)
    }
    layers = np.array(sorted(set(at["layer"])))
    low = min(float(np.nanmin(table.to_numpy())) for table in maps.values())
    high = max(float(np.nanmax(table.to_numpy())) for table in maps.values())
    with style.figure_style():
        made = panels(width, len(maps), height=height_of_rows(len(layers)))
        image: Any = None
        for axes, table in zip(made.axes, maps.values(), strict=True):
            image = draw_heatmap(axes, table.to_numpy(dtype=float), low, high)
            name_cells(axes, table.index.to_numpy(int), table.columns.to_numpy(int), made.points)
            axes.set(xlabel="head")
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([MATRIX_NAMES[matrix] for matrix in maps])
        add_colour_bar(made.figure, image, made.axes, f"entries with |w| < {chosen:g} (%)")
        finish(made.figure, title=title)
    return made.figure
