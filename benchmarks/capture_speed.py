"""How fast capture is: the tap against the bare forward, the shared prefix against full prompts."""

from __future__ import annotations

from typing import Any

from . import procedures
from .material import KEY_VALUE_HEADS, LAYERS, PREFIX_TOKENS, QUERIES, WIDTH, build_model, build_prompts
from .measure import compare_pairs, peak_memory_of, ratio_to_dict

BATCH = 8
# The peak comes with the largest batch; more of them only add what is kept.
MEMORY_QUERIES = 48


def run(pairs: int) -> dict[str, Any]:
    model, eager = build_model(), build_model("eager")
    # A part of the queries is enough for the tap: both sides run the same full prompts.
    few, all_queries = build_prompts(16), build_prompts()
    procedures.bare_forward(model, few, BATCH)
    captured = procedures.capture_full(model, build_prompts(MEMORY_QUERIES), BATCH).nbytes
    overhead = compare_pairs(
        lambda: procedures.capture_full(model, few, BATCH),
        lambda: procedures.bare_forward(model, few, BATCH),
        8 * pairs,
    )
    speedup = compare_pairs(
        lambda: procedures.bare_forward(model, all_queries, BATCH),
        lambda: procedures.capture_shared(model, all_queries, BATCH),
        pairs,
    )
    against_reference = compare_pairs(
        lambda: procedures.reference(eager, all_queries, 1),
        lambda: procedures.capture_shared(model, all_queries, BATCH),
        pairs,
    )
    bare, tapped, shared = (
        peak_memory_of(name, BATCH, MEMORY_QUERIES)
        for name in ("bare_forward", "capture_full", "capture_shared")
    )
    return {
        "shape": f"{LAYERS} layers of width {WIDTH}, {KEY_VALUE_HEADS} key-value heads, fp32",
        "prompts": f"{QUERIES} queries behind {PREFIX_TOKENS} tokens, batches of {BATCH}",
        "tap over bare forward, same batches": ratio_to_dict(overhead),
        "bare forward over full prompts / capture with shared prefix": ratio_to_dict(speedup),
        "reference procedure / capture with shared prefix": ratio_to_dict(against_reference),
        "peak memory": {
            "queries": MEMORY_QUERIES,
            "bare_bytes": bare,
            "captured_bytes": captured,
            "capture_full_bytes": tapped,
            "capture_shared_bytes": shared,
            "capture_full / (bare + captured)": tapped / (bare + captured),
        },
    }
