"""The maps of a study of attention: its arrays and tokens as rows, and every picture that they give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .attention_difference import attention_difference
from .attention_map import attention_heads_figure, attention_map_figure, last_row_figure
from .attention_rows import AttentionRows, named_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.study import Study

_SETTINGS = {"zsl": "zero-shot", "icl": "in context", "ft": "finetuned", "text": ""}
_DIFFERENCES = (("icl", "zsl"), ("ft", "zsl"), ("icl", "ft"))


def study_rows(study: Study, setting: str, kind: str = "map") -> AttentionRows:
    """Return the mapped attention of one setting.

    Args:
        study: A study of attention.
        setting: ``zsl``, ``icl`` or ``ft``.
        kind: ``map`` for every token's row in the mapped layers, ``last`` for the last token's in every layer.

    Raises:
        KeyError: If that setting was not mapped.
    """
    arrays, tokens = study.arrays[f"{kind}-{setting}"], study.tables["map_tokens"]
    own = tokens[tokens["setting"] == setting]
    none = own["demonstration"].isna()
    named = named_tokens(
        own["text"].tolist(),
        own["part"].tolist(),
        [None if missing else number for missing, number in zip(none, own["demonstration"], strict=True)],
        [None if missing else label for missing, label in zip(none, own["label"], strict=True)],
    )
    return AttentionRows(
        arrays["values"],
        arrays["visible"],
        tuple(int(layer) for layer in arrays["layers"]),
        tuple(int(head) for head in arrays["heads"]),
        named if kind == "map" else named[-1:],
        named,
        study.config.map,
        title=_SETTINGS[setting],
    )


def map_figures(study: Study) -> dict[str, Callable[[Study], Figure]]:
    """Return what draws each map: all heads of each layer in each setting, the last token's row, differences.

    Args:
        study: A study of attention.
    """
    mapped = [setting for setting in _SETTINGS if f"map-{setting}" in study.arrays]
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


def _last_token(study: Study, *, setting: str) -> Figure:
    return last_row_figure(study_rows(study, setting, "last"))


def _heads(study: Study, *, setting: str, layer: int) -> Figure:
    return _side_by_side(study_rows(study, setting).of_layer(layer))


def _difference(study: Study, *, one: str, other: str, layer: int) -> Figure:
    rows = (study_rows(study, setting).of_layer(layer) for setting in (one, other))
    return _side_by_side(attention_difference(*rows))


def _side_by_side(rows: AttentionRows) -> Figure:
    """Draw the heads of a layer; one alone has the page to itself."""
    return attention_heads_figure(rows) if len(rows.heads) > 1 else attention_map_figure(rows)
