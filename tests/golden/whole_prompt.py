"""Where the prompt of an old ``results.json`` stands in a study's table of prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from golden.dropped import DROPPED

from iclprobe.study.study import Study


def whole_prompt(path: str, old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield everything of a prompt.

    Args:
        path: Where it stood.
        old: What stood there.
        study: A study with one model.
    """
    prompts, facts = study.tables["prompts"], study.tables["facts"].set_index("name")["text"]
    for name, setting in (("zero_shot", "zero-shot"), ("icl", "icl")):
        parts = prompts[prompts["setting"] == setting]
        ids = [json.loads(text) for text in parts["ids"]]
        starts = [sum(map(len, ids[:place])) for place in range(len(ids))]
        yield f"{path}.{name}.text", DROPPED, "it is what the ids say, which the parts hold"
        yield f"{path}.{name}.parts", old[name]["parts"], dict(zip(parts["part"], starts, strict=True))
        yield f"{path}.{name}.ids", old[name]["ids"], [token for part in ids for token in part]
        tokens = [token for text in parts["tokens"] for token in json.loads(text)]
        yield f"{path}.{name}.tokens", old[name]["tokens"], tokens
    options = {
        row["part"]: {"text": row["text"], **{name: json.loads(row[name]) for name in ("ids", "tokens")}}
        for row in prompts[prompts["setting"] == "option"].to_dict("records")
    }
    yield f"{path}.options", old["options"], options
    yield f"{path}.chat_template", old["chat_template"], study.config.chat_template
    notes = [finding.sentence for finding in study.findings if finding.name == "prompt"]
    yield f"{path}.notes", old["notes"], notes
    yield f"{path}.demonstrations_asked", old["demonstrations_asked"], study.config.shots
    used = prompts["part"].str.startswith("demonstration ") & (prompts["setting"] == "icl")
    yield f"{path}.demonstrations_used", old["demonstrations_used"], used.sum()
    told = f"at most {old['longest_tokens']:,} of {old['context_length']:,} tokens"
    for name in ("longest_tokens", "context_length"):
        yield f"{path}.{name}", old[name], old[name] if told in facts["prompt"] else ...
    for name in ("query_index", "gold", "template", "separator", "template_separator"):
        yield f"{path}.{name}", DROPPED, "iclprobe prompt tells it, and separators are parts of the prompt"
