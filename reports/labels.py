"""Demonstrations with other labels: the sheet, and the figure of what each kind does to answers and inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import DELTA, PARTIAL, SETTING_NAMES
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .comparison_rows import row_alarms
from .figure_text import subject_title
from .intervals import draw_points
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_BLOCKS: tuple[tuple[str, dict[str, str]], ...] = (
    ("accuracy (%)", {name: f"accuracy, {name}" for name in SETTING_NAMES.values()}),
    ("accuracy, calibrated (%)", {name: f"calibrated accuracy, {name}" for name in SETTING_NAMES.values()}),
    (
        "like finetuning (cosine)",
        {
            "SimAOU": "SimAOU",
            "partial": PARTIAL,
            "SimAM before": "SimAM before finetuning",
            "→ after": "SimAM after finetuning",
            "SimAM of changes": DELTA,
        },
    ),
)
_PAIR_COLUMNS = {
    "answers agree (%)": "predictions agree",
    "calibrated (%)": "calibrated predictions agree",
    "cosine of updates": "cosine of ICL updates",
    "partial": "partial cosine of ICL updates",
}
_TURNING = {
    "answers": "predictions follow flipped labels",
    "calibrated": "calibrated predictions follow flipped labels",
}
_ROW, _SHIFT = 0.42, 0.2


def labels_sheet(study: Study) -> Sheet:
    """Return every measure under each kind of labels, and what in-context learning with two kinds has in common.

    Args:
        study: A study of labels.
    """
    effects, pairs = study.tables["effects"], study.tables["pairs"]
    variants = list(dict.fromkeys(effects["variant"]))
    cells = {(row["variant"], row["measure"]): _cell(row) for row in effects.to_dict("records")}
    changes = {
        (row["variant"], row["measure"]): _cell(row, "change", sign=True)
        for row in effects.to_dict("records")
    }
    blocks = [
        Block(
            corner,
            tuple(columns),
            tuple((name, tuple(cells[name, measure] for measure in columns.values())) for name in variants),
        )
        for corner, columns in _BLOCKS
    ]
    icl = {"accuracy": "accuracy, ICL", "calibrated": "calibrated accuracy, ICL"}
    others = [name for name in variants if name != "gold"]
    blocks.append(
        Block(
            "ICL less gold (points)",
            tuple(icl),
            tuple((name, tuple(changes[name, measure] for measure in icl.values())) for name in others),
        )
    )
    turning = {row["measure"]: _cell(row) for row in pairs.to_dict("records")}
    if all(measure in turning for measure in _TURNING.values()):
        row = ("turn with flipped labels", tuple(turning[measure] for measure in _TURNING.values()))
        blocks.insert(0, Block("ICL's answers (%)", tuple(_TURNING), (row,)))
    of_pairs = {
        (row["variant"], row["other"], row["measure"]): _cell(row) for row in pairs.to_dict("records")
    }
    blocks.append(
        Block(
            "ICL with two kinds of labels",
            tuple(_PAIR_COLUMNS),
            tuple(
                (
                    f"{one}, {other}",
                    tuple(of_pairs[one, other, measure] for measure in _PAIR_COLUMNS.values()),
                )
                for one, other in dict.fromkeys((one, other) for one, other, _ in of_pairs)
            ),
        )
    )
    sheet = sheet_of(study, tuple(blocks), _notes(study))
    return replace(sheet, alarms=row_alarms(study.findings, _row, len(study.config.seeds)))


def _row(where: Mapping[str, Any]) -> str:
    return f"{where['variant']} labels"


def _notes(study: Study) -> tuple[str, ...]:
    effects = study.tables["effects"]
    queries, draws = int(effects["queries"].max()), int(effects["draws"].max())
    return (
        f"[low, high]: {100 * study.config.level:g}% intervals: bootstrap over {queries} queries, each with all "
        f"{draws} draw{'s' * (draws > 1)} of demonstrations; a difference takes the same queries with both labels. "
        "They do not answer for other demonstrations.",
        "turn with flipped labels: of ICL's answers that become the next label, or stay, when every label of the "
        "demonstrations becomes the next one: 100 where the labels are learned from the context, 0 where the task is "
        "recognised whatever they say. Calibrated answers leave out a preference for one word.",
        "accuracy is by the queries' own labels, also where those of the demonstrations are wrong; finetuning learns "
        "the same demonstrations with the same labels as are shown.",
        "cosine of updates: of what the demonstrations with two kinds of labels change in the attention output; both "
        "are taken from one zero-shot output, which alone makes them alike. partial takes it out, with what all "
        "queries share.",
    )


def _cell(row: Any, name: str = "value", *, sign: bool = False) -> Cell:
    if math.isnan(row[name]):
        return ("undefined",)
    digits = 1 if row["unit"] == "%" else 3
    ends = (row["low"], row["high"]) if name == "value" else (row[f"{name}_low"], row[f"{name}_high"])
    value = f"{row[name]:{'+' if sign else ''}.{digits}f}"
    if math.isnan(ends[0]):
        return (value,)
    return (value, "", f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]")


def labels_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracies, SimAOU and how like those with gold labels ICL's updates are, one row a kind of labels.

    Args:
        study: A study of labels.
        width: In inches.
    """
    effects, pairs = study.tables["effects"], study.tables["pairs"]
    variants = list(dict.fromkeys(effects["variant"]))
    config, shots = study.config, study.config.shots
    with style.figure_style():
        made = panels(width, 3, height=0.7 + _ROW * len(variants), sharey=True)
        for axes, kind in zip(made.axes, ("accuracy", "calibrated accuracy"), strict=False):
            for place, name in enumerate(SETTING_NAMES.values()):
                rows = effects[effects["measure"] == f"{kind}, {name}"].set_index("variant").loc[variants]
                _points(axes, rows, style.NAMED_COLOURS[name], _SHIFT * (place - 1), name)
            axes.set(xlabel=f"{kind} (%)", xlim=(-3, 103))
        last = made.axes[2]
        for place, (label, measure) in enumerate((("SimAOU", "SimAOU"), ("SimAOU partial", PARTIAL))):
            rows = effects[effects["measure"] == measure].set_index("variant").loc[variants]
            _points(last, rows, style.MEASURE_COLOURS[measure], _SHIFT * (place - 1.5), label)
        with_gold = pairs[pairs["variant"] == "gold"]
        for place, (label, measure) in enumerate(
            (
                ("ICL update, with gold's", "cosine of ICL updates"),
                ("the same without what is shared", "partial cosine of ICL updates"),
            )
        ):
            rows = with_gold[with_gold["measure"] == measure].set_index("other").reindex(variants)
            colour = style.ordered_colours(3)[place]
            _points(last, rows, colour, _SHIFT * (place + 0.5), label, marker="s")
        last.set(xlabel="cosine")
        for axes in made.axes:
            axes.set_ylim(len(variants) - 0.5, -0.5)
            axes.grid(axis="y", visible=False)
            axes.grid(axis="x", visible=True)
        made.axes[0].set_yticks(range(len(variants)), variants)
        made.title(["accuracy", "accuracy, calibrated", "inside"])
        queries = int(effects["queries"].max())
        draws = int(effects["draws"].max())
        finish(
            made.figure,
            title=f"{subject_title(config)}, {shots} shot{'s' * (shots > 1)}",
            notes=[
                f"mean over {draws} draw{'s' * (draws > 1)} of demonstrations; rows: labels of the demonstrations"
            ],
            intervals=f"{100 * config.level:g}% interval over {queries} queries",
        )
    return made.figure


def _points(axes: Axes, rows: Frame, colour: str, shift: float, label: str, **looks: Any) -> None:
    below, above = rows["value"] - rows["low"], rows["high"] - rows["value"]
    spread = np.clip(np.stack([below, above]).astype(float), 0, None)
    places = np.arange(len(rows)) + shift
    draw_points(
        axes, places, rows["value"], spread, colour, across=True, label=label, markersize=3.4, **looks
    )
