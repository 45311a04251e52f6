"""Where each number of a comparison's run before stands in a study's tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from golden.dropped import DROPPED

from iclprobe.study.study import Study

OLD = [
    *("compare", "--model", "pocket", "--device", "cpu", "--batch-size", "8", "--seeds", "0,1"),
    *("--limit", "10", "--layers", "4,0,-1", "--shots", "2"),
]
NEW = OLD
_INTERVAL = "queries, for one draw of demonstrations"
_CHANGES = (
    *("shared_correct", "shared_incorrect", "shared_mixed", "icl_correct", "icl_incorrect"),
    *("ft_correct", "ft_incorrect", "union"),
)


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    config, tables = study.config, study.tables
    for name in ("model", "task", "score_variant", "agreement"):
        yield name, old[name], getattr(config, name)
    yield "shots", old["shots"], config.shots[0]
    yield "labels", old["labels"], list(dict.fromkeys(tables["label_logprobs"]["label"]))
    yield "layers", old["layers"], list(dict.fromkeys(tables["similarities"]["layer"]))
    yield "intervals.level", old["intervals"]["level"], config.level
    yield "intervals.resamples", old["intervals"]["resamples"], config.resamples
    yield "intervals.over", DROPPED, f"the basis of findings says it: {_INTERVAL}"
    yield from _prompt(old["prompt"], study)
    over_draws = tables["over_draws"].set_index("measure")
    for measure, numbers in old["over_draws"].items():
        for name, value in numbers.items():
            yield f"over_draws.{measure}.{name}", value, over_draws.loc[measure, name]
    for place, draw in enumerate(old["draws"]):
        yield from _draw(f"draws.{place}", draw, study)


def _of(study: Study, table: str, seed: int) -> Any:
    frame = study.tables[table]
    return frame[frame["seed"] == seed]


def _draw(path: str, old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    seed = old["seed"]
    row = _of(study, "draws", seed).iloc[0]
    yield f"{path}.seed", seed, row["seed"]
    for name in ("demonstrations_used", "demonstrations_asked", "queries", "queries_skipped", "seen_queries"):
        yield f"{path}.{name}", old[name], row[name]
    yield f"{path}.separator_unknown", old["separator_unknown"], row["separator_unknown"]
    yield f"{path}.record_notes", old["record_notes"], json.loads(row["record_notes"])
    for part, count in old["records_left_out"].items():
        yield f"{path}.records_left_out.{part}", count, row[f"{part}_left_out"]
    changes = old["prediction_changes"]
    yield f"{path}.prediction_changes.agreement", changes["agreement"], study.config.agreement
    for name in _CHANGES:
        yield f"{path}.prediction_changes.{name}", changes[name], row[name]
    layers = _of(study, "layers", seed)
    for key, measure in (
        ("sim_aou", "SimAOU"),
        ("sim_aou_partial", "SimAOU partial"),
        ("sim_am_delta", "SimAM of the changes (delta)"),
    ):
        found, undefined = layers[layers["measure"] == measure], old[f"{key}_undefined"]
        (by_layer,) = [name for name in undefined if name != "layers"]
        yield f"{path}.{key}_undefined.layers", undefined["layers"], (found["defined"] == 0).sum()
        yield (
            f"{path}.{key}_undefined.{by_layer}",
            undefined[by_layer],
            (found["of"] - found["defined"]).tolist(),
        )
    yield from _nulls(f"{path}.nulls", old["nulls"], _of(study, "null_draws", seed))
    yield from _finetuned(f"{path}.finetuned", old["finetuned"], study, seed)
    noise = _of(study, "noise", seed)
    if old["noise_floor"] is None:
        yield f"{path}.noise_floor", None, None if noise.empty else ...
    else:
        for name, values in old["noise_floor"].items():
            yield f"{path}.noise_floor.{name}", values, noise[name].tolist()
    measures = _of(study, "measures", seed).set_index("measure")
    for measure, numbers in old["measures"].items():
        for name, value in numbers.items():
            yield f"{path}.measures.{measure}.{name}", value, measures.loc[measure, name]


def _nulls(path: str, old: dict[str, Any], rows: Any) -> Iterator[tuple[str, object, object]]:
    for kind, numbers in old.items():
        found = rows[rows["null"] == kind]
        draws = found["null_draw"].nunique()
        profiles = torch.tensor(found["value"].to_numpy(dtype=float)).reshape(draws, -1)
        yield f"{path}.{kind}.mean", numbers["mean"], float(profiles.nanmean(0).nanmean())
        over_layers = profiles.nanmean(1)
        spread = (over_layers - over_layers.nanmean()).square().nansum() / max(draws - 1, 1)
        yield f"{path}.{kind}.std_over_null_draws", numbers["std_over_null_draws"], float(spread.sqrt())
        yield f"{path}.{kind}.null_draws", numbers["null_draws"], draws


def _finetuned(
    path: str, old: dict[str, Any], study: Study, seed: int
) -> Iterator[tuple[str, object, object]]:
    row = _of(study, "finetuning", seed).iloc[0]
    for name in ("source", "trained_parameters", "learning_rate", "first_loss", "final_loss", "steps"):
        yield f"{path}.{name}", old[name], row[name]
    rate = study.config.learning_rate
    recipe = study.config.recipes[0].model_dump() | ({} if rate is None else {"learning_rate": rate})
    yield f"{path}.recipe", old["recipe"], recipe
    yield f"{path}.losses", old["losses"], _of(study, "losses", seed)["loss"].tolist()
    evaluations = _of(study, "evaluations", seed)[["epoch", "accuracy", "gold_logprob"]]
    yield f"{path}.evaluations", old["evaluations"], evaluations.to_dict("records")
    drift = _of(study, "finetuning_drift", seed).reset_index()
    for place, numbers in enumerate(old["drift"]):
        for name, value in (*numbers.items(), *numbers["drift"].items()):
            if name != "drift":
                inner = f"drift.{name}" if name in numbers["drift"] else name
                yield f"{path}.drift.{place}.{inner}", value, drift.loc[place, name]
    yield from _rate_search(f"{path}.learning_rate_search", old["learning_rate_search"], row, study, seed)


def _rate_search(
    path: str, old: dict[str, Any] | None, row: Any, study: Study, seed: int
) -> Iterator[tuple[str, object, object]]:
    rates = _of(study, "rate_search", seed)
    if old is None:
        yield path, None, None if rates.empty else ...
        return
    tried = rates[rates["outcome"] != "not tried"]
    chosen = rates.loc[rates["outcome"] == "chosen", "learning_rate"]
    yield f"{path}.chosen", old["chosen"], chosen.item()
    yield f"{path}.baseline_held_out_nll", old["baseline_held_out_nll"], row["baseline_held_out_nll"]
    yield f"{path}.offered", old["offered"], rates["learning_rate"].tolist()
    stopped = rates.loc[rates["outcome"] == "stopped", "learning_rate"]
    yield f"{path}.stopped_early", old["stopped_early"], stopped.tolist()
    candidates = [
        {
            "learning_rate": each.learning_rate,
            "held_out_nll": each.held_out_nll,
            "diverged": each.outcome == "diverged",
        }
        for each in tried.itertuples()
    ]
    yield f"{path}.candidates", old["candidates"], candidates


def _prompt(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    prompts, facts = study.tables["prompts"], study.tables["facts"].set_index("name")["text"]
    for name, setting in (("zero_shot", "zero-shot"), ("icl", "icl")):
        parts = prompts[prompts["setting"] == setting]
        ids = [json.loads(text) for text in parts["ids"]]
        starts = [sum(map(len, ids[:place])) for place in range(len(ids))]
        yield f"prompt.{name}.text", DROPPED, "it is what the ids say, which the parts hold"
        yield f"prompt.{name}.parts", old[name]["parts"], dict(zip(parts["part"], starts, strict=True))
        yield f"prompt.{name}.ids", old[name]["ids"], [token for part in ids for token in part]
        tokens = [token for text in parts["tokens"] for token in json.loads(text)]
        yield f"prompt.{name}.tokens", old[name]["tokens"], tokens
    options = {
        row["part"]: {"text": row["text"], **{name: json.loads(row[name]) for name in ("ids", "tokens")}}
        for row in prompts[prompts["setting"] == "option"].to_dict("records")
    }
    yield "prompt.options", old["options"], options
    yield "prompt.chat_template", old["chat_template"], study.config.chat_template
    notes = [finding.sentence for finding in study.findings if finding.name == "prompt"]
    yield "prompt.notes", old["notes"], notes
    row = study.tables["draws"].iloc[0]
    for name in ("demonstrations_asked", "demonstrations_used"):
        yield f"prompt.{name}", old[name], row[name]
    yield "prompt.query_index", old["query_index"], study.tables["queries"]["query_index"].iloc[0]
    yield "prompt.gold", old["gold"], study.tables["queries"]["gold"].iloc[0]
    told = f"at most {old['longest_tokens']:,} of {old['context_length']:,} tokens"
    for name in ("longest_tokens", "context_length"):
        yield f"prompt.{name}", old[name], old[name] if told in facts["prompt"] else ...
    for name in ("template", "separator", "template_separator"):
        yield f"prompt.{name}", DROPPED, "iclprobe prompt tells it, and separators are parts of the prompt"
