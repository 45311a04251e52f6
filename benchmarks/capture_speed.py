"""Every way of recording one and the same thing, in turn, at the usual shape: seconds, tokens, peak memory, ratios.

Ways that run every prompt whole take as much for each query, so they are timed on some of the queries and compared by
the query, in the same rounds.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

from .material import build_model, build_prompts
from .measure import compare_pairs, interleaved, peak_memory_of, ratio_of, ratio_to_dict, seconds_to_dict
from .options import Options
from .procedures import PROCEDURES, Procedure
from .shapes import Shape

WHOLE_BATCH, WHOLE_QUERIES, TAP_QUERIES, MEMORY_QUERIES = 8, 16, 8, 48
RATIOS = {
    "native capture / floor": ("native", "floor"),
    "bare forward / native capture": ("bare_forward", "native"),
    "reference procedure / native capture": ("reference", "native"),
    "TransformerLens / native capture": ("transformer_lens", "native"),
    "nnsight / native capture": ("nnsight", "native"),
    "TransformerLens, shared prefix / native capture": ("transformer_lens_shared", "native"),
    "nnsight, shared prefix / native capture": ("nnsight_shared", "native"),
}


def run(options: Options) -> dict[str, Any]:
    usual = options.shape
    shapes = {name: asked_of(name, usual) for name, each in PROCEDURES.items() if each.is_here}
    models = {attention: build_model(usual, attention) for attention in ("sdpa", "eager")}
    ways = {}
    for name, shape in shapes.items():
        chosen = PROCEDURES[name]
        # The first call imports what it needs, and fills what libraries keep.
        _prepared(chosen, models, shape.asking(2, min(2, shape.batch)))()
        ways[name] = _prepared(chosen, models, shape)
    seconds = interleaved(ways, options.pairs)
    each = {
        name: [value / shapes[name].queries for value in values] if PROCEDURES[name].whole else values
        for name, values in seconds.items()
    }
    return {
        "shape": asdict(usual),
        "text": f"{usual.model_text}; {usual.prompts_text}",
        "ways": {
            name: _way(name, values, shapes[name], usual, options.memory) for name, values in seconds.items()
        },
        "ratios": {
            title: ratio_to_dict(ratio_of(_whole(each, one, usual), _whole(each, other, usual)))
            for title, (one, other) in RATIOS.items()
            if one in each and other in each
        },
        "tap": _tap(models["sdpa"], usual, options),
        "left out": [name for name, chosen in PROCEDURES.items() if not chosen.is_here],
    }


def asked_of(name: str, usual: Shape) -> Shape:
    """Return what a procedure is timed on."""
    if not PROCEDURES[name].whole:
        return usual
    return usual.asking(min(WHOLE_QUERIES, usual.queries), 1 if name == "reference" else WHOLE_BATCH)


def _prepared(chosen: Procedure, models: dict[str, Any], shape: Shape) -> Any:
    return partial(chosen.run, models[chosen.attention], build_prompts(shape), shape.batch)


def _whole(each: dict[str, list[float]], name: str, usual: Shape) -> list[float]:
    """Return the seconds of a procedure for all queries."""
    many = usual.queries if PROCEDURES[name].whole else 1
    return [value * many for value in each[name]]


def _way(name: str, seconds: list[float], shape: Shape, usual: Shape, memory: bool) -> dict[str, Any]:
    ran = (
        shape.queries * (shape.prefix + shape.query)
        if PROCEDURES[name].whole
        else shape.prefix + shape.queries * shape.query
    )
    found = {
        "title": PROCEDURES[name].title,
        "batch": shape.batch,
        "queries timed": shape.queries,
        "seconds": seconds_to_dict(seconds),
        "seconds of all queries": round(median(seconds) * usual.queries / shape.queries, 2),
        "tokens run a second": round(ran / median(seconds)),
        "prompt tokens a second": round(shape.queries * (shape.prefix + shape.query) / median(seconds)),
    }
    if memory:
        asked = shape.asking(min(MEMORY_QUERIES, shape.queries))
        found["peak memory"] = {"queries": asked.queries, "bytes": peak_memory_of({name: asked})[name]}
    return found


def _tap(model: Any, usual: Shape, options: Options) -> dict[str, Any]:
    """What the tap alone costs: the same whole prompts in the same batches, with it and without."""
    shape = usual.asking(min(TAP_QUERIES, usual.queries), WHOLE_BATCH)
    tapped, bare = (PROCEDURES[name].run for name in ("native_whole", "bare_forward"))
    prompts = build_prompts(shape)
    ratio = compare_pairs(
        lambda: tapped(model, prompts, shape.batch),
        lambda: bare(model, prompts, shape.batch),
        4 * options.pairs,
    )
    found = {"queries timed": shape.queries, "native capture / bare forward": ratio_to_dict(ratio)}
    if options.memory:
        asked = usual.asking(min(MEMORY_QUERIES, usual.queries), WHOLE_BATCH)
        peaks = peak_memory_of(dict.fromkeys(("bare_forward", "native_whole"), asked))
        kept = tapped(model, build_prompts(asked), asked.batch).nbytes
        found["peak memory"] = {
            "queries": asked.queries,
            "bytes": peaks,
            "kept bytes": kept,
            "native capture / (bare forward + kept)": round(
                peaks["native_whole"] / (peaks["bare_forward"] + kept), 3
            ),
        }
    return found
