"""The attention that a study keeps, as the explorer of its page carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...study.names import SETTING_NAMES
from .packed import packed

if TYPE_CHECKING:
    from ...study.columns import Frame
    from ...study.study import Study

MOST_BYTES = 6_000_000
"""Of the arrays in a page; the rest lies in the run directory."""
_OWN = ("query", "turn_tail")


def explored(study: Study) -> dict[str, Any] | None:
    """Return what the explorer shows, or None where a study keeps no attention.

    ``groups`` are comparisons or one mapped prompt, each with its queries and the names of its ``arrays``: of every
    setting ``rows`` ``[n, L, H, Q]`` and ``map-QUERY`` ``[L, H, P, T]``, packed, NaN where nothing is visible.
    ``notes`` say what is left out.

    Args:
        study: The study.
    """
    kept = study.tables.get("kept")
    if kept is not None and len(kept):
        return _of_comparisons(study, kept)
    if any(f"map-{setting}" in study.arrays for setting in (*SETTING_NAMES, "text")):
        return _of_mapped_prompt(study)
    return None


def _of_comparisons(study: Study, kept: Frame) -> dict[str, Any]:
    names = list(dict.fromkeys(kept["arrays"]))
    arrays: dict[str, dict[str, Any]] = {}
    fewer = False
    for name in names:
        arrays[name], left = _within(_comparison_arrays(study, name), MOST_BYTES // len(names))
        fewer = fewer or left
    groups = []
    for (recipe, shots, seed), rows in kept.groupby(["recipe", "shots", "seed"], sort=False):
        where = {"recipe": recipe, "shots": shots, "seed": seed}
        settings = dict(zip(rows["setting"], rows["arrays"], strict=True))
        tokens = _where(study.tables["kept_tokens"], where)
        first = study.arrays[settings["zsl"]]
        heads = first["scores"].shape[2] if "scores" in first else first["map-0"].shape[1]
        count = max(_carried(arrays[name]) for name in settings.values())
        groups.append(
            {
                "name": f"{recipe}, {shots} shot{'s' * (shots > 1)}, seed {seed}",
                "layers": [int(layer) for layer in first["layers"]],
                "heads": list(range(heads)),
                "map_layers": [int(layer) for layer in first["layers"]],
                "row_kind": "scores",
                "map_kind": "pattern",
                "whole_prompt": False,
                "softmax": study.config.plan.score_space == "softmax_input",
                "settings": settings,
                "before": {
                    setting: _tokens(tokens[tokens["setting"] == _prompt_of(setting)]) for setting in settings
                },
                "queries": _queries(study, where, tokens, count),
            }
        )
    notes = [_kept_note(kept, study)]
    if fewer:
        notes.append(
            "This page carries the first of them, so that it can be sent; all that is kept lies in arrays/ beside it."
        )
    return {"groups": groups, "arrays": arrays, "notes": notes}


def _prompt_of(setting: str) -> str:
    """Return in which setting's prompt a setting is asked: the finetuned model is given the zero-shot prompt."""
    return "icl" if setting == "icl" else "zsl"


def _kept_note(kept: Frame, study: Study) -> str:
    rows, maps = int(kept["rows"].max()), int(kept["maps"].max())
    asked = int(study.tables["draws"]["queries"].max())
    where = "first label token" if study.config.plan.positions == "first_label_token" else "last token"
    return (
        f"Of {asked} queries the first {rows} keep the attention scores of the {where} over the query's own tokens, "
        f"and the first {maps} the attention of every token of the query over the whole prompt."
    )


def _comparison_arrays(study: Study, name: str) -> dict[str, np.ndarray]:
    found = study.arrays[name]
    arrays = {each: values for each, values in found.items() if each.startswith("map-")}
    if "scores" in found:
        arrays["rows"] = np.where(found["visible"], found["scores"], np.float32(np.nan))
    return arrays


def _within(arrays: Mapping[str, np.ndarray], room: int) -> tuple[dict[str, Any], bool]:
    """Return arrays, packed, rows first and then maps, as far as there is room; and whether any is left out."""
    found: dict[str, Any] = {}
    left = False
    rows = arrays.get("rows")
    if rows is not None:
        whole = packed(rows)
        fitting = min(len(rows), int(len(rows) * room / max(1, len(whole["data"]))))
        found["rows"] = whole if fitting == len(rows) else packed(rows[:fitting])
        left = fitting < len(rows)
        room -= len(found["rows"]["data"])
    for name in sorted(
        (name for name in arrays if name != "rows"), key=lambda name: int(name.split("-")[-1])
    ):
        one = packed(arrays[name])
        if len(one["data"]) > room:
            return found, True
        found[name], room = one, room - len(one["data"])
    return found, left


def _carried(arrays: Mapping[str, Any]) -> int:
    """Return of how many queries a group carries anything."""
    rows = arrays["rows"]["shape"][0] if "rows" in arrays else 0
    return max([rows, *(int(name.split("-")[-1]) + 1 for name in arrays if name != "rows")])


def _where(frame: Frame, where: Mapping[str, Any]) -> Frame:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


def _tokens(frame: Frame) -> list[list[Any]]:
    """Return text, part and demonstration of each token."""
    missing = frame["demonstration"].isna()
    numbers = [None if none else int(n) for none, n in zip(missing, frame["demonstration"], strict=True)]
    return [list(each) for each in zip(frame["text"], frame["part"], numbers, strict=True)]


def _queries(study: Study, where: Mapping[str, Any], tokens: Frame, count: int) -> list[dict[str, Any]]:
    asked, answers, labels = (
        _where(study.tables[name], where) for name in ("queries", "answers", "label_logprobs")
    )
    found = []
    for query, own in tokens.dropna(subset=["query"]).groupby("query", sort=True):
        if len(found) == count:
            break
        row = asked[asked["query"] == query].iloc[0]
        said = answers[answers["query"] == query].set_index("setting")
        likely = labels[labels["query"] == query]
        found.append(
            {
                "number": int(query),
                "text": row["text"],
                "gold": row["gold"],
                "tokens": _tokens(own),
                "labels": list(dict.fromkeys(likely["label"])),
                "answers": {
                    setting: {
                        "prediction": said.loc[setting, "prediction"],
                        "correct": bool(said.loc[setting, "correct"]),
                        "logprobs": [
                            float(value) for value in likely[likely["setting"] == setting]["logprob"]
                        ],
                    }
                    for setting in said.index
                },
            }
        )
    return found


def _of_mapped_prompt(study: Study) -> dict[str, Any]:
    tokens = study.tables["map_tokens"]
    settings = {setting: setting for setting in (*SETTING_NAMES, "text") if f"map-{setting}" in study.arrays}
    arrays, fewer = {}, False
    for setting in settings:
        maps, rows = study.arrays[f"map-{setting}"], study.arrays[f"last-{setting}"]
        whole = {
            "rows": np.where(rows["visible"], rows["values"], np.float32(np.nan))[None, :, :, 0],
            "map-0": np.where(maps["visible"], maps["values"], np.float32(np.nan)),
        }
        arrays[setting], left = _within(whole, MOST_BYTES // len(settings))
        fewer = fewer or left
    last, first = study.arrays[f"last-{next(iter(settings))}"], study.arrays[f"map-{next(iter(settings))}"]
    by_setting = {setting: _tokens(tokens[tokens["setting"] == setting]) for setting in settings}
    own = {
        setting: [token for token in found if token[1] in _OWN] or found
        for setting, found in by_setting.items()
    }
    shown = next(iter(own.values()))
    group = {
        "name": "the mapped prompt",
        "layers": [int(layer) for layer in last["layers"]],
        "heads": [int(head) for head in last["heads"]],
        "map_layers": [int(layer) for layer in first["layers"]],
        "row_kind": study.config.map,
        "map_kind": study.config.map,
        "whole_prompt": True,
        "softmax": False,
        "settings": settings,
        "before": {setting: found[: len(found) - len(own[setting])] for setting, found in by_setting.items()},
        "queries": [
            {
                "number": 0,
                "text": "".join(token[0] for token in shown),
                "gold": "",
                "tokens": shown,
                "labels": [],
            }
            | {"answers": {}}
        ],
    }
    where = ", ".join(map(str, group["map_layers"]))
    notes = [f"The last token's row is kept in every layer, every token's in layer {where}."]
    if fewer:
        notes.append(
            "This page leaves some of it out, so that it can be sent; all of it lies in arrays/ beside it."
        )
    return {"groups": [group], "arrays": arrays, "notes": notes}
