"""Gradient norms by layer: the table, and the heatmaps by demonstration and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..analyses.gradients import GradientsStudy
from . import style
from .heatmap import draw_heatmap, layer_ticks
from .plain_table import aligned, number
from .prompt_text import prompt_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gradients_text(study: GradientsStudy) -> str:
    """Return each layer's gradient norm, mean over steps and seeds with the spread over seeds.

    Args:
        study: The study.
    """
    config = study.config
    seeds = len(config.seeds)
    lines = [
        f"gradient norms of {config.model} on {config.task}, {config.shots} shots, "
        f"{seeds} draw{'s' * (seeds > 1)} of demonstrations",
        f"of {_whose(study)}, loss {_what(study)}",
    ]
    rows = []
    for place, layer in enumerate(study.layers):
        cells = [str(layer)]
        for recipe in study.recipes:
            means = study.layer_means(recipe)[:, place]
            spread = f" ± {number(float(means.std()))}" if seeds > 1 else ""
            cells.append(number(float(means.mean())) + spread)
        rows.append(cells)
    names = study.recipes
    lines += ["", *aligned(["layer", *names], rows), ""]
    for recipe in study.recipes:
        means = study.layer_means(recipe).mean(dim=0)
        rates = ", ".join(dict.fromkeys(f"{run.learning_rate:g}" for run in study.of(recipe)))
        lines.append(
            f"{recipe}: learning rate {rates}; the first layer's gradient is "
            f"{number(float(means[0] / means[-1]))} times the last layer's"
        )
    lines += prompt_lines([study.prompt] if study.prompt is not None else [])
    return "\n".join(lines)


def gradients_figure(study: GradientsStudy) -> Figure:
    """Draw the norms by demonstration and layer on one logarithmic scale, one panel a recipe.

    Args:
        study: The study.
    """
    with np.errstate(divide="ignore"):
        maps = {recipe: np.log10(study.heatmap(recipe).T.numpy()) for recipe in study.recipes}
    finite = np.concatenate([values[np.isfinite(values)] for values in maps.values()])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    with style.figure_style():
        figure = style.new_figure(2.2 + 3.4 * len(maps), min(9.0, max(3.2, 2.0 + 0.16 * len(study.layers))))
        panels = np.atleast_1d(figure.subplots(1, len(maps), sharey=True))
        image: Any = None
        for axes, (recipe, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values, low, high)
            axes.set(title=recipe, xlabel="demonstration, counted from 0")
        layer_ticks(panels[0], np.array(study.layers))
        panels[0].set_ylabel("layer")
        figure.colorbar(
            image, ax=list(panels), label="log₁₀ of the gradient's L2 norm", fraction=0.05, pad=0.02
        )
        figure.suptitle(f"gradient norms of {_whose(study)}")
        if len(study.config.seeds) > 1:
            note = f"mean over {len(study.config.seeds)} draws of demonstrations"
            figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _whose(study: GradientsStudy) -> str:
    return (
        "the trained parameters" if study.config.parameters == "trained" else "all parameters of each layer"
    )


def _what(study: GradientsStudy) -> str:
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
