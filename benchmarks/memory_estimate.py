"""The memory that an estimate foresees beside the peak of a process that does it, at the shape of 1.3B models.

Layers are fewer than those models have, so that it fits here; what is foreseen of a layer is the same. The peak is
what a process of its own, which gives back at once what it frees, holds beside its model.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from iclprobe.hooks.assembly import array_shapes
from iclprobe.hooks.batching import bytes_per_prompt, choose_batch_size
from iclprobe.hooks.capture import capture
from iclprobe.hooks.prefix import copied_tokens
from iclprobe.hooks.resolved_plan import resolve_plan
from iclprobe.hooks.storage import total_bytes
from iclprobe.models.finetuning import finetune
from iclprobe.models.finetuning_memory import finetuning_bytes
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import preset
from iclprobe.tasks.prompt_set import PromptSet, TrainingSequence

from .measure import run_forked
from .options import Options

LAYERS = 4
_VOCABULARY, _CONTEXT = 50257, 2048
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 2048,
        "intermediate_size": 5504,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": _CONTEXT,
    },
    "gpt_neo": {
        "hidden_size": 2048,
        "num_heads": 16,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": _CONTEXT,
    },
}
RUNS = ("capture", "dai", "shen_adam", "barnatan_lcft")
_QUERIES, _QUERY_TOKENS, _PREFIX_TOKENS = 64, 40, 1000
_DEMONSTRATIONS = 8
# One arena, and large pieces given back at once: what is measured is what is in use.
_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}


def run(options: Options) -> dict[str, Any]:
    """Return of every run at every shape what was foreseen, the peak, and their ratio.

    Args:
        options: Of which none matters: nothing is timed.
    """
    return {family: measure(family, RUNS, LAYERS, SHAPES[family]) for family in SHAPES}


def measure(family: str, names: Sequence[str], layers: int, shape: dict[str, Any]) -> dict[str, Any]:
    """Return what each run takes in a process of its own."""
    code = (
        f"from benchmarks.memory_estimate import report; report({family!r}, {names!r}, {layers}, {shape!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **_ALLOCATOR},
        cwd=Path(__file__).parent.parent,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return dict(zip(names, map(json.loads, done.stdout.splitlines()[-len(names) :]), strict=True))


def report(family: str, names: Sequence[str], layers: int, shape: dict[str, Any]) -> None:
    """Print a line of what each run takes, and what was foreseen.

    Processes are forked, so that the libraries are imported and the model is made once for all of them.
    """
    torch.set_num_threads(1)
    model = _model(family, layers, shape)
    for name in names:
        run_forked(_report_run, name, model)


def _report_run(name: str, model: LanguageModel) -> None:
    foreseen, procedure = (_capture if name == "capture" else _finetuning)(name, model)
    peak = _peak(procedure)
    numbers = {"foreseen_gb": foreseen / 1e9, "peak_gb": peak / 1e9, "foreseen_by_peak": foreseen / peak}
    print(json.dumps({key: round(value, 3) for key, value in numbers.items()}), flush=True)


def _model(family: str, layers: int, shape: dict[str, Any]) -> LanguageModel:
    torch.manual_seed(0)
    kinds = {"attention_types": [[["global", "local"], layers // 2]]} if family == "gpt_neo" else {}
    name = "num_layers" if family == "gpt_neo" else "num_hidden_layers"
    config = AutoConfig.for_model(family, **shape, **kinds, **{name: layers})
    model = load_model(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval())
    with torch.no_grad():
        # What the libraries take once for all.
        model.module(input_ids=torch.zeros(1, 8, dtype=torch.long))
    return model


def _capture(_: str, model: LanguageModel) -> tuple[int, Callable[[], object]]:
    prompts = PromptSet(_tokens(0, _PREFIX_TOKENS), tuple(_tokens(n, _QUERY_TOKENS) for n in range(_QUERIES)))
    copied = copied_tokens(model, _PREFIX_TOKENS)
    size = choose_batch_size(model, _QUERY_TOKENS, copied)
    batch = max(
        size * bytes_per_prompt(model, _QUERY_TOKENS, copied), bytes_per_prompt(model, _PREFIX_TOKENS, 0)
    )
    kept = total_bytes(array_shapes(resolve_plan(None, model), prompts, 10))
    return batch + kept, lambda: capture(model, prompts)


def _finetuning(name: str, model: LanguageModel) -> tuple[int, Callable[[], object]]:
    lengths = [_QUERY_TOKENS - 4 + place for place in range(_DEMONSTRATIONS)]
    training = [TrainingSequence(_tokens(length, length + 1), length) for length in lengths]
    recipe = preset(name).model_copy(update={"epochs": 1, "evaluation_epochs": None})
    foreseen = finetuning_bytes(model, recipe, training)
    return foreseen, lambda: finetune(model, training, recipe, learning_rate=1e-4, seed=0, recompute=False)


def _tokens(seed: int, count: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 1000, (count,), generator=generator).tolist())


def _peak(procedure: Callable[[], object]) -> int:
    """Return how many bytes more a procedure holds at its peak than there are before it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    peaks, ended = [before := _held()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.0005):
            peaks[0] = max(peaks[0], _held())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        left = procedure()
    finally:
        ended.set()
        watching.join()
    del left
    return peaks[0] - before


def _held() -> int:
    """Return the anonymous memory of this process, which mapped files are no part of."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) * 1024
