"""Bare forward, floor and native capture over prefix, query, batch and model, one thing varied at a time."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

from .material import build_model, build_prompts
from .measure import interleaved, peak_memory_of, ratio_of, ratio_to_dict
from .options import Options
from .procedures import PROCEDURES
from .shapes import Shape, axes_around

# Enough for some batches behind the prefix, and one batch of whole prompts.
QUERIES, WHOLE_QUERIES = 64, 4
NAMES = ("bare_forward", "floor", "native")


def run(options: Options) -> dict[str, Any]:
    return {
        "queries": min(QUERIES, options.shape.queries),
        "whole prompts timed": WHOLE_QUERIES,
        "axes": {
            axis: {
                str(size): measured(shape.asking(min(QUERIES, shape.queries)), options)
                for size, shape in shapes.items()
            }
            for axis, shapes in axes_around(options.shape).items()
        },
    }


def measured(shape: Shape, options: Options) -> dict[str, Any]:
    """Time the three at one shape."""
    model = build_model(shape)
    asked = {
        name: shape.asking(min(WHOLE_QUERIES, shape.queries), min(WHOLE_QUERIES, shape.batch))
        if PROCEDURES[name].whole
        else shape
        for name in NAMES
    }
    ways = {
        name: partial(PROCEDURES[name].run, model, build_prompts(each), each.batch)
        for name, each in asked.items()
    }
    ways["floor"]()
    times = interleaved(ways, options.pairs)
    seconds = {name: [value / asked[name].queries for value in values] for name, values in times.items()}
    found: dict[str, Any] = {
        "shape": asdict(shape),
        "seconds a query": {name: round(median(values), 5) for name, values in seconds.items()},
        "prompt tokens a second": {
            name: round((shape.prefix + shape.query) / median(values)) for name, values in seconds.items()
        },
        "native capture / floor": ratio_to_dict(ratio_of(seconds["native"], seconds["floor"])),
        "bare forward / native capture": ratio_to_dict(ratio_of(seconds["bare_forward"], seconds["native"])),
    }
    if options.memory:
        found["peak bytes"] = peak_memory_of(asked)
    return found
