"""What the time of a capture behind a shared prefix goes into: parts of the model, kinds of operations, the tap."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile

from iclprobe import LanguageModel, PromptSet
from iclprobe.hooks.next_token import stream_next_token

from .material import build_model, build_prompts
from .measure import interleaved, ratio_of, ratio_to_dict
from .options import Options
from .procedures import floor, native

QUERIES = 128
PARTS = {
    "attention projections": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "attention, all": ("self_attn",),
    "MLP": ("mlp",),
    "norms": ("input_layernorm", "post_attention_layernorm", "norm"),
    "head": ("lm_head",),
    "embedding": ("embed_tokens",),
}
OPERATIONS = {
    "matrix products": ("addmm", "mm", "bmm", "matmul", "linear"),
    "attention kernel": ("scaled_dot_product", "flash_attention", "softmax", "logsumexp", "baddbmm"),
    "copies": (
        "copy_",
        "cat",
        "clone",
        "contiguous",
        "_to_copy",
        "index",
        "gather",
        "expand",
        "stack",
        "fill_",
    ),
}


def run(options: Options) -> dict[str, Any]:
    shape = options.shape.asking(min(QUERIES, options.shape.queries))
    model, prompts = build_model(shape), build_prompts(shape)
    native(model, prompts, shape.batch)
    by_part = _by_part(model, prompts, shape.batch, options.pairs)
    times = interleaved(
        {
            "floor": lambda: floor(model, prompts, shape.batch),
            "nothing recorded": lambda: _answers(model, prompts, shape.batch),
            "native": lambda: native(model, prompts, shape.batch),
        },
        2 * options.pairs,
    )
    return {
        "text": f"{shape.model_text}; {shape.prompts_text}, {shape.batch} at once",
        "seconds": {name: round(median(values), 4) for name, values in times.items()},
        "capture / the same without a tap": ratio_to_dict(
            ratio_of(times["native"], times["nothing recorded"])
        ),
        "share of the capture, by part": by_part,
        "share of the capture, by operation": _by_operation(model, prompts, shape.batch),
    }


def _answers(model: LanguageModel, prompts: PromptSet, batch: int) -> None:
    for _ in stream_next_token(model, prompts, batch_size=batch):
        pass


def _by_part(model: LanguageModel, prompts: PromptSet, batch: int, runs: int) -> dict[str, float]:
    """Return which share of a capture's seconds passes inside each part of the model, and which outside."""
    shares: dict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        with _clocks(model.module) as seconds:
            start = time.perf_counter()
            native(model, prompts, batch)
            whole = time.perf_counter() - start
        inside = seconds.pop("model")
        core = seconds["attention, all"] - seconds["attention projections"]
        del seconds["attention, all"]
        seconds["attention without projections: rotation, cache, kernel, tap"] = core
        seconds["rest of the model: masks, rotation tables, additions"] = inside - sum(seconds.values())
        seconds["outside the model: batches, rows kept, probabilities"] = whole - inside
        for name, value in seconds.items():
            shares[name].append(value / whole)
    return {
        name: round(median(values), 4)
        for name, values in sorted(shares.items(), key=lambda item: -median(item[1]))
    }


@contextmanager
def _clocks(module: Any) -> Iterator[dict[str, float]]:
    """Add up the seconds that pass inside each kind of module."""
    seconds: dict[str, float] = defaultdict(float)
    begun: dict[nn.Module, float] = {}
    names = {end: part for part, ends in PARTS.items() for end in ends}
    # The prefix runs without the head, so either is the outermost.
    whole = (module, module.base_model)
    running: list[nn.Module] = []

    def begin(each: nn.Module, *_: Any) -> None:
        begun[each] = time.perf_counter()
        running.append(each)

    def end(each: nn.Module, *_: Any) -> None:
        running.pop()
        if each not in whole or not running:
            seconds[parts[each]] += time.perf_counter() - begun[each]

    parts = {
        each: "model" if each in whole else names[place.rsplit(".", 1)[-1]]
        for place, each in module.named_modules()
        if each in whole or place.rsplit(".", 1)[-1] in names
    }
    handles = [
        handle
        for each in parts
        for handle in (each.register_forward_pre_hook(begin), each.register_forward_hook(end))
    ]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def _by_operation(model: LanguageModel, prompts: PromptSet, batch: int) -> dict[str, float]:
    """Return which share of the processor's time goes into each kind of operation, as torch's profiler says."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        native(model, prompts, batch)
    times: dict[str, float] = defaultdict(float)
    for event in found.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next(
            (kind for kind, names in OPERATIONS.items() if any(_is(name, one) for one in names)), "others"
        )
        times[kind] += event.self_cpu_time_total
    whole = sum(times.values())
    return {name: round(value / whole, 4) for name, value in sorted(times.items(), key=lambda item: -item[1])}


def _is(name: str, kind: str) -> bool:
    return name == kind or (len(kind) > 6 and kind in name)
