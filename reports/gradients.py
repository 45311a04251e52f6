"""Gradient norms by layer: the sheet, and the heatmaps by demonstration and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Sheet, sheet_of
from . import style
from .figure_text import short_name, subject_title
from .heatmap import add_colour_bar, draw_heatmap, height_of_rows, name_cells
from .numbers import number
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study


def gradients_sheet(study: Study) -> Sheet:
    """Return each layer's gradient norm, mean over steps and seeds with the spread over seeds.

    Args:
        study: A study of gradients.
    """
    means = layer_means(study.tables["norms"])
    recipes = list(dict.fromkeys(means["recipe"]))
    rows = []
    for layer, of_layer in means.groupby("layer"):
        cells = []
        for recipe in recipes:
            values = of_layer.loc[of_layer["recipe"] == recipe, "norm"]
            spread = (f"± {number(values.std())}",) if len(values) > 1 else ()
            cells.append((number(values.mean()), *spread))
        rows.append((str(layer), tuple(cells)))
    notes = [f"gradient norms of {_whose(study)}, loss {_what(study)}"]
    for recipe, of_recipe in study.tables["runs"].groupby("recipe", sort=False):
        rates = ", ".join(dict.fromkeys(f"{rate:g}" for rate in of_recipe["learning_rate"]))
        notes.append(f"{recipe}: learning rate {rates}")
    notes += [finding.sentence for finding in study.findings if finding.kind == "result"]
    return sheet_of(study, (Block("layer", tuple(recipes), tuple(rows)),), tuple(notes))


def layer_means(norms: Frame) -> Frame:
    """Return the mean over steps of each recipe, draw and layer: ``recipe``, ``seed``, ``layer``, ``norm``.

    Args:
        norms: One row a recipe, draw, step and layer.
    """
    return norms.groupby(["recipe", "seed", "layer"], sort=False, as_index=False)["norm"].mean()


def norms_by_step(norms: Frame, recipe: str) -> Frame:
    """Return the norms of one recipe, one row a step and one column a layer, mean over draws.

    Steps that not every draw has are left out.

    Args:
        norms: One row a recipe, draw, step and layer.
        recipe: Which recipe.
    """
    found = norms[norms["recipe"] == recipe]
    steps = found.groupby("seed")["step"].max().min()
    return found[found["step"] <= steps].pivot_table(
        index="step", columns="layer", values="norm", dropna=False
    )


def gradients_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the norm of each layer's gradient by demonstration, one panel a recipe.

    Args:
        study: A study of gradients.
        width: In inches.
    """
    note = ""
    if len(study.config.seeds) > 1:
        note = f"mean over {len(study.config.seeds)} draws of demonstrations"
    title = f"{subject_title(study.config)}: gradient norms of {_whose(study)}"
    return norms_figure(study.tables["norms"], title=title, note=note, width=width)


def norms_figure(
    norms: Frame, *, title: str = "", note: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw norms by step and layer on one logarithmic scale, one panel a recipe; what is zero is hatched.

    Args:
        norms: One row a recipe, draw, step and layer.
        title: What stands above.
        note: What stands below.
        width: In inches.
    """
    from matplotlib.colors import LogNorm

    recipes = dict.fromkeys(norms["recipe"])
    maps = {recipe: norms_by_step(norms, recipe) for recipe in recipes}
    layers = np.array(sorted(set(norms["layer"])))
    found = np.concatenate([table.to_numpy(dtype=float).ravel() for table in maps.values()])
    drawn = found[np.isfinite(found) & (found > 0)]
    low, high = (float(drawn.min()), float(drawn.max())) if len(drawn) else (0.1, 1.0)
    with style.figure_style():
        made = panels(width, len(maps), height=height_of_rows(len(layers)))
        image: Any = None
        for axes, table in zip(made.axes, maps.values(), strict=True):
            values = table.to_numpy(dtype=float).T
            image = draw_heatmap(axes, np.where(values > 0, values, np.nan), None, None)
            image.set_norm(LogNorm(low, high if high > low else 2 * low))
            name_cells(axes, layers, table.index.to_numpy(dtype=int), made.points)
            axes.set(xlabel="demonstration")
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([short_name(recipe) for recipe in recipes])
        add_colour_bar(made.figure, image, made.axes, "L2 norm of the gradient (log scale)")
        hatched = "hatched: no gradient" if len(drawn) < len(found) else ""
        finish(made.figure, title=title, notes=[note, hatched])
    return made.figure


def _whose(study: Study) -> str:
    return (
        "the trained parameters" if study.config.parameters == "trained" else "all parameters of each layer"
    )


def _what(study: Study) -> str:
    config = study.config
    parts = ["per token" if config.reduction == "token_mean" else "summed over tokens"]
    if config.loss_scale != 1:
        parts.append(f"scaled by {config.loss_scale:g}")
    parts.append(
        "gradients of parameters that are not trained pile up (the reference's artefact D10)"
        if config.accumulate
        else "each step by itself"
    )
    return ", ".join(parts)
