"""Gradient norms by layer: the sheet, and the heatmaps by demonstration and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Sheet, sheet_of
from . import style
from .heatmap import draw_heatmap, layer_ticks
from .numbers import number

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


def gradients_figure(study: Study) -> Figure:
    """Draw the norms by demonstration and layer on one logarithmic scale, one panel a recipe.

    Args:
        study: A study of gradients.
    """
    note = ""
    if len(study.config.seeds) > 1:
        note = f"mean over {len(study.config.seeds)} draws of demonstrations"
    return norms_figure(study.tables["norms"], title=f"gradient norms of {_whose(study)}", note=note)


def norms_figure(norms: Frame, *, title: str = "", note: str = "") -> Figure:
    """Draw norms by step and layer on one logarithmic scale, one panel a recipe.

    Args:
        norms: One row a recipe, draw, step and layer.
        title: What stands above.
        note: What stands below.
    """
    recipes = dict.fromkeys(norms["recipe"])
    with np.errstate(divide="ignore"):
        maps = {recipe: np.log10(norms_by_step(norms, recipe).to_numpy().T) for recipe in recipes}
    layers = np.array(sorted(set(norms["layer"])))
    finite = np.concatenate([values[np.isfinite(values)] for values in maps.values()])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    with style.figure_style():
        figure = style.new_figure(2.2 + 3.4 * len(maps), min(9.0, max(3.2, 2.0 + 0.16 * len(layers))))
        panels = np.atleast_1d(figure.subplots(1, len(maps), sharey=True))
        image: Any = None
        for axes, (recipe, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values, low, high)
            axes.set(title=recipe, xlabel="demonstration, counted from 0")
        layer_ticks(panels[0], layers)
        panels[0].set_ylabel("layer")
        figure.colorbar(
            image, ax=list(panels), label="log₁₀ of the gradient's L2 norm", fraction=0.05, pad=0.02
        )
        figure.suptitle(title)
        if note:
            figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


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
