"""How long one and the same capture takes in each engine, beside the bare forward and the papers' procedure."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from . import procedures
from .material import LAYERS, WIDTH, build_model, build_prompts
from .measure import peak_memory_of, timed

QUERIES, QUERY_TOKENS, PREFIX_TOKENS = 64, 40, 1000
# How many prompts run at once: the papers' procedure takes one after another.
WAYS = {
    "bare_forward": 8,
    "capture_shared": 8,
    "capture_full": 8,
    "capture_transformer_lens": 8,
    "capture_nnsight": 8,
    "reference": 1,
}
_SHAPE = (QUERIES, PREFIX_TOKENS, (QUERY_TOKENS, QUERY_TOKENS + 1))


def run(pairs: int) -> dict[str, Any]:
    models = {"reference": build_model("eager")}
    usual, prompts, few = build_model(), build_prompts(*_SHAPE), build_prompts(4, 20)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for way, batch in WAYS.items():
        # The first call imports what it needs.
        getattr(procedures, way)(models.get(way, usual), few, batch)
    for _ in range(pairs):
        for way, batch in WAYS.items():
            model = models.get(way, usual)
            seconds[way].append(timed(partial(getattr(procedures, way), model, prompts, batch)))
    typical = {way: median(times) for way, times in seconds.items()}
    return {
        "shape": f"{LAYERS} layers of width {WIDTH}, fp32",
        "prompts": f"{QUERIES} queries of {QUERY_TOKENS} tokens behind {PREFIX_TOKENS}; rounds {pairs}",
        "ways": {
            way: {
                "batch": batch,
                "median_seconds": round(typical[way], 2),
                "seconds": [round(value, 2) for value in seconds[way]],
                "times the native capture": round(typical[way] / typical["capture_shared"], 2),
                "peak_bytes": peak_memory_of(way, batch, *_SHAPE),
            }
            for way, batch in WAYS.items()
        },
    }
