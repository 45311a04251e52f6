"""The maps of a study of attention: its arrays and tokens as rows, and every picture that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .attention_difference import attention_difference
from .attention_folding import folded_to_fit
from .attention_heads import attention_heads_figure
from .attention_last_row import attention_last_row_figure
from .attention_layout import MOST_CELLS
from .attention_map import attention_map_figure
from .attention_rows import AttentionRows
from .prompt_marks import SETTING_NAMES, prompt_marks
from .style import TWO_COLUMNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.study import Study

_MAPPED = (*SETTING_NAMES, "text")
_DIFFERENCES = (("icl", "zsl"), ("ft", "zsl"), ("icl", "ft"))


def study_rows(study: Study, setting: str, kind: str = "map") -> AttentionRows:
    """Return the mapped attention of one setting.

    Args:
        study: A study of attention.
        setting: ``zsl``, ``icl``, ``ft``, or ``text``.
        kind: ``map`` for every token's row in the mapped layers, ``last`` for the last token's in every layer.

    Raises:
        KeyError: If that setting was not mapped.
    """
    arrays, tokens = study.arrays[f"{kind}-{setting}"], study.tables["map_tokens"]
    own = tokens[tokens["setting"] == setting]
    texts = tuple(own["text"])
    missing = own["demonstration"].isna()
    numbers = [None if none else int(n) for none, n in zip(missing, own["demonstration"], strict=True)]
    marks = prompt_marks(own["part"].tolist(), numbers)
    first = 0 if kind == "map" else len(texts) - 1
    return AttentionRows(
        values=arrays["values"],
        visible=arrays["visible"],
        layers=tuple(int(layer) for layer in arrays["layers"]),
        heads=tuple(int(head) for head in arrays["heads"]),
        row_tokens=texts[first:],
        column_tokens=texts,
        row_spans=marks if kind == "map" else prompt_marks(own["part"].tolist()[first:], numbers[first:]),
        column_spans=marks,
        kind=study.config.map,
        setting=SETTING_NAMES.get(setting, setting),
    )


def map_figures(study: Study) -> dict[str, Callable[[Study], Figure]]:
    """Return what draws each map: all heads of each layer in each setting, the last token's row, differences.

    Args:
        study: A study of attention.
    """
    mapped = _settings(study)
    layers = [int(layer) for layer in study.arrays[f"map-{mapped[0]}"]["layers"]] if mapped else []
    figures: dict[str, Callable[[Study], Figure]] = {}
    for setting in mapped:
        figures[f"last-token-{setting}"] = partial(_last_token, setting=setting)
        for layer in layers:
            figures[f"map-{setting}-layer{layer}"] = partial(_heads, setting=setting, layer=layer)
    for one, other in _DIFFERENCES:
        if one in mapped and other in mapped:
            for layer in layers:
                name = f"difference-{one}-{other}-layer{layer}"
                figures[name] = partial(_difference, one=one, other=other, layer=layer)
    return figures


def _settings(study: Study) -> list[str]:
    return [setting for setting in _MAPPED if f"map-{setting}" in study.arrays]


def _last_token(study: Study, *, setting: str, width: float = TWO_COLUMNS) -> Figure:
    """Draw what the last token attends to, layer by layer."""
    return attention_last_row_figure(study_rows(study, setting, "last"), width=width)


def _heads(study: Study, *, setting: str, layer: int, width: float = TWO_COLUMNS) -> Figure:
    """Draw every head's attention in one layer, token by token."""
    return _of_layer(study_rows(study, setting), layer, width)


def _difference(study: Study, *, one: str, other: str, layer: int, width: float = TWO_COLUMNS) -> Figure:
    """Draw how every head's attention to the query differs between two settings, on the scale of its layer."""
    mapped = {setting: study_rows(study, setting).select([layer]) for setting in _settings(study)}
    differences = {
        (first, second): attention_difference(mapped[first], mapped[second])
        for first, second in _DIFFERENCES
        if first in mapped and second in mapped
    }
    drawn = [folded_to_fit(rows, MOST_CELLS, MOST_CELLS).drawn() for rows in differences.values()]
    limit = max(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) for values in drawn)
    return _of_layer(replace(differences[one, other], limit=limit), layer, width)


def _of_layer(rows: AttentionRows, layer: int, width: float) -> Figure:
    """Draw the heads of a layer side by side; one alone has the page to itself."""
    if len(rows.heads) == 1:
        return attention_map_figure(rows, layer, rows.heads[0], width=width)
    return attention_heads_figure(rows, layers=(layer,), width=width)
