"""Where each number of a run of controls before stands in a study's tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import accumulate, chain
from typing import Any

from golden.dropped import DROPPED

from iclprobe.analyses.controls.controls import Controls

OLD = [
    *("controls", "--model", "pocket", "--task", "pocket-topic-code", "--shots", "4", "--seeds", "0,1"),
    *("--limit", "12", "--batch-size", "4", "--device", "cpu"),
]
NEW = OLD

Pairs = Iterator[tuple[str, object, object]]


def pairs(old: dict[str, Any], study: Controls) -> Pairs:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    tables = study.tables
    for name in ("model", "task", "shots", "seeds"):
        yield name, old[name], getattr(study.config, name)
    yield "labels_changed", old["labels_changed"], tables["labels_changed"]["labels_changed"]
    (of_another,) = tables["controls"]["other_task"].dropna()
    yield "other_task", old["other_task"], of_another
    first = next(iter(old["controls"]))
    for control, found in old["controls"].items():
        path = f"controls.{control}"
        (what,) = tables["controls"].loc[tables["controls"]["control"] == control, "what"]
        yield f"{path}.what", found["what"], what
        yield from _measures(f"{path}.measures", found["measures"], study[control])
        if found["prompt"] is None:
            # A prompt that is that of the first control was not told again.
            same = study[control]["prompts"].equals(study[first]["prompts"])
            yield f"{path}.prompt", None, None if same else "another"
        else:
            yield from _prompt(f"{path}.prompt", found["prompt"], study, control)


def _measures(path: str, old: dict[str, Any], tables: Mapping[str, Any]) -> Pairs:
    over_draws = tables["over_draws"].set_index("measure")
    for name, found in old.items():
        for column in ("unit", "mean", "std", "draws"):
            yield f"{path}.{name}.{column}", found[column], over_draws.loc[name, column]
        each = tables["measures"].loc[tables["measures"]["measure"] == name, "value"]
        yield f"{path}.{name}.each_draw", found["each_draw"], each


def _prompt(path: str, old: dict[str, Any], study: Controls, control: str) -> Pairs:
    tables = study[control]
    query, draw, prompts = tables["queries"].iloc[0], tables["draws"].iloc[0], tables["prompts"]
    for name, row in (
        *(("query_index", query), ("gold", query)),
        *(("demonstrations_used", draw), ("demonstrations_asked", draw)),
    ):
        yield f"{path}.{name}", old[name], row[name]
    yield f"{path}.chat_template", old["chat_template"], study.config.chat_template
    yield f"{path}.template", DROPPED, "it is the task's own, or the configuration names it"
    yield f"{path}.template_separator", DROPPED, "it is the task's own; where another stands, a fact tells it"
    told = tables["cell_facts"].set_index("name").loc["prompt", "text"]
    for name, words in (
        ("separator", f"separator {json.dumps(old['separator'])},"),
        ("longest_tokens", f"at most {old['longest_tokens']:,} of"),
        ("context_length", f"of {old['context_length']:,} tokens"),
    ):
        yield f"{path}.{name}", old[name], old[name] if words in told else ...
    yield f"{path}.notes", old["notes"], [each.sentence for each in study.findings if each.name == "prompt"]
    for setting, kind in (("zero_shot", "zero-shot"), ("icl", "icl")):
        parts = prompts[prompts["setting"] == kind]
        ids, tokens = ([json.loads(text) for text in parts[name]] for name in ("ids", "tokens"))
        starts = [0, *accumulate(map(len, ids))]
        yield f"{path}.{setting}.ids", old[setting]["ids"], list(chain(*ids))
        yield f"{path}.{setting}.tokens", old[setting]["tokens"], list(chain(*tokens))
        yield f"{path}.{setting}.parts", old[setting]["parts"], dict(zip(parts["part"], starts, strict=False))
        yield f"{path}.{setting}.text", DROPPED, "it is what the ids say, which the parts hold"
    options = {
        row["part"]: {"text": row["text"], **{name: json.loads(row[name]) for name in ("ids", "tokens")}}
        for row in prompts[prompts["setting"] == "option"].to_dict("records")
    }
    yield f"{path}.options", old["options"], options
