"""Where what studies of order and of outputs had alike stands in the tables of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas
from golden.dropped import DROPPED

from iclprobe.study.study import Study

Pair = tuple[str, object, object]


def row_pairs(old: dict[str, Any], study: Study) -> Iterator[Pair]:
    """Yield every value of every row; what is missing or undefined is None."""
    frame = study.tables["rows"].astype(object)
    rows = frame.where(pandas.notna(frame), None).to_dict("records")
    yield "rows", len(old["rows"]), len(rows)
    for place, (before, now) in enumerate(zip(old["rows"], rows, strict=True)):
        for name, value in before.items():
            yield f"rows.{place}.{name}", value, now[name]


def prompt_pairs(old: dict[str, Any], study: Study) -> Iterator[Pair]:
    """Yield everything of the prompts: their parts are rows, and what frames them is told elsewhere."""
    table = study.tables["prompts"]
    for model, prompt in old["prompts"].items():
        path, own = f"prompts.{model}", table[table["model"] == model]
        for name, setting in (("zero_shot", "zero-shot"), ("icl", "icl")):
            yield from _whole(f"{path}.{name}", prompt[name], own[own["setting"] == setting])
        options = own[own["setting"] == "option"].set_index("part")
        for label, option in prompt["options"].items():
            for name in ("text", "ids", "tokens"):
                found = options.loc[label, name]
                now = found if name == "text" else json.loads(str(found))
                yield from _leaves(f"{path}.options.{label}.{name}", option[name], now)
        yield f"{path}.chat_template", prompt["chat_template"], study.config.chat_template
        yield (
            f"{path}.demonstrations_asked",
            prompt["demonstrations_asked"],
            study.tables["rows"]["shots"].iloc[0],
        )
        told = [each.sentence for each in study.findings if each.name == "prompt"]
        yield f"{path}.notes", prompt["notes"], told
        for name in ("query_index", "gold", "template", "separator", "template_separator"):
            yield (
                f"{path}.{name}",
                DROPPED,
                "iclprobe prompt tells it, and the separators are parts of the prompt",
            )
        for name in ("demonstrations_used", "longest_tokens", "context_length"):
            yield f"{path}.{name}", DROPPED, "iclprobe prompt tells it, and the parts of the prompt show it"


def _whole(path: str, old: dict[str, Any], parts: Any) -> Iterator[Pair]:
    starts, place = {}, 0
    for name, ids in zip(parts["part"], parts["ids"], strict=True):
        starts[name] = place
        place += len(json.loads(ids))
    yield f"{path}.text", DROPPED, "it is what the ids say, which the parts hold"
    yield from ((f"{path}.parts.{name}", start, starts[name]) for name, start in old["parts"].items())
    for name in ("ids", "tokens"):
        now = [entry for text in parts[name] for entry in json.loads(text)]
        yield from _leaves(f"{path}.{name}", old[name], now)


def _leaves(path: str, old: list[Any] | str, now: Any) -> Iterator[Pair]:
    if isinstance(old, str):
        yield path, old, now
        return
    for place, (one, other) in enumerate(zip(old, now, strict=True)):
        yield f"{path}.{place}", one, other
