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

MOST_BYTES = 8_000_000
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
    arrays, fewer = _within({name: _comparison_arrays(study, name) for name in names}, MOST_BYTES)
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


def _within(
    groups: Mapping[str, Mapping[str, np.ndarray]], room: int
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return groups of arrays, packed, as far as there is room, and whether any is left out.

    Rows come first, of as many queries in every group; then the maps of one query after another, in all groups.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in groups}
    rows = {name: packed(arrays["rows"]) for name, arrays in groups.items() if "rows" in arrays}
    size = sum(len(each["data"]) for each in rows.values())
    fewer = size > room
    for name, whole in rows.items():
        few = groups[name]["rows"][: int(len(groups[name]["rows"]) * room / size)] if fewer else None
        found[name]["rows"] = whole if few is None else packed(few)
    room -= sum(len(each["rows"]["data"]) for each in found.values() if each)
    mapped = sorted(
        {int(each.split("-")[1]) for arrays in groups.values() for each in arrays if each != "rows"}
    )
    for query in mapped:
        name = f"map-{query}"
        maps = {group: packed(arrays[name]) for group, arrays in groups.items() if name in arrays}
        room -= sum(len(each["data"]) for each in maps.values())
        if room < 0:
            return found, True
        for group, each in maps.items():
            found[group][name] = each
    return found, fewer


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
    said: dict[int, dict[str, dict[str, Any]]] = {}
    for row in answers[answers["query"] < count].to_dict("records"):
        said.setdefault(int(row["query"]), {})[row["setting"]] = {
            "prediction": row["prediction"],
            "correct": bool(row["correct"]),
            "logprobs": [],
        }
    names = list(dict.fromkeys(labels["label"]))
    for row in labels[labels["query"] < count].to_dict("records"):
        said[int(row["query"])][row["setting"]]["logprobs"].append(float(row["logprob"]))
    own = {int(query): _tokens(rows) for query, rows in tokens.dropna(subset=["query"]).groupby("query")}
    return [
        {
            "number": int(row["query"]),
            "text": row["text"],
            "gold": row["gold"],
            "tokens": own[int(row["query"])],
            "labels": names,
            "answers": said[int(row["query"])],
        }
        for row in asked[asked["query"] < count].to_dict("records")
    ]


def _query_text(study: Study) -> str:
    prompts = study.tables["prompts"]
    own = prompts[(prompts["setting"] == "icl") & (prompts["part"] == "query")]
    return "" if own.empty else str(own["text"].iloc[0])


def _of_mapped_prompt(study: Study) -> dict[str, Any]:
    tokens = study.tables["map_tokens"]
    settings = {setting: setting for setting in (*SETTING_NAMES, "text") if f"map-{setting}" in study.arrays}
    whole = {}
    for setting in settings:
        maps, rows = study.arrays[f"map-{setting}"], study.arrays[f"last-{setting}"]
        whole[setting] = {
            "rows": np.where(rows["visible"], rows["values"], np.float32(np.nan))[None, :, :, 0],
            "map-0": np.where(maps["visible"], maps["values"], np.float32(np.nan)),
        }
    arrays, fewer = _within(whole, MOST_BYTES)
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
                "number": study.config.query or 0,
                "text": _query_text(study) or "".join(token[0] for token in shown),
                "gold": "",
                "tokens": shown,
                "labels": [],
                "answers": {},
            }
        ],
    }
    where = ", ".join(map(str, group["map_layers"]))
    notes = [f"The last token's row is kept in every layer, every token's in layer {where}."]
    if fewer:
        notes.append(
            "This page leaves some of it out, so that it can be sent; all of it lies in arrays/ beside it."
        )
    return {"groups": [group], "arrays": arrays, "notes": notes}
