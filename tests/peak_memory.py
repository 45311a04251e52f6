"""The most anonymous memory that an analysis takes, in a process of its own; what files are mapped does not count.

``python peak_memory.py ANALYSIS QUERIES FOLDER`` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

WORDS = tuple(f"w{number}" for number in range(60))
RECIPE = {
    "preset": "shen_sgd",
    "parameters": "attn_v@-1",
    "epochs": 1,
    "evaluation_epochs": 1,
    "batch_size": 4,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "compare": {"learning_rate": 0.01, "resamples": 200},
    "controls": {"learning_rate": 0.01, "resamples": 200, "controls": ("none", "shuffled_prefix")},
    "attention": {"resamples": 200, "settings": ("icl",)},
    "order": {"orders": 2, "arms": (RECIPE,), "learning_rates": (0.01,)},
    "outputs": {"shots": (4,), "arms": (RECIPE,), "learning_rates": (0.01,)},
}
# One arena, and large pieces given back at once: what is measured is what is in use.
_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
}


def measure(analysis: str, queries: int, folder: Path) -> dict[str, Any]:
    """Return the peak, and the bytes of the tables and arrays that are left."""
    command = [sys.executable, __file__, analysis, str(queries), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **_ALLOCATOR}, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def write_wide_model(folder: Path) -> None:
    """Write a random Llama whose rows of attention are far larger than what is kept of a query."""
    import torch
    from made_tokenizers import folding_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=384,
        intermediate_size=16,
        num_hidden_layers=4,
        num_attention_heads=48,
        num_key_value_heads=48,
        vocab_size=1000,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    folding_tokenizer(" ".join(("Sentence:", "Label:", "good", "bad", *WORDS))).save_pretrained(folder)


def write_records(folder: Path, queries: int) -> None:
    drawn = random.Random(0)
    folder.mkdir()
    for name, count in (("train", 40), ("validation", queries)):
        records = [
            {"text": " ".join(drawn.choices(WORDS, k=8)), "label": place % 2} for place in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def anonymous_bytes() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) * 1024


def main(analysis: str, queries: int, folder: Path) -> None:
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401
    import torch

    import iclprobe

    torch.set_num_threads(1)
    write_records(folder / "records", queries)
    write_wide_model(folder / "model")
    run = getattr(iclprobe, analysis)
    options = {
        "model": str(folder / "model"),
        "data": str(folder / "records"),
        "template": "Sentence: {text} Label:",
        "label_words": ("good", "bad"),
        "shots": 4,
        "limit": queries,
        "device": "cpu",
        "batch_size": 16,
        **OPTIONS[analysis],
    }
    peaks, ended = [before := anonymous_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            peaks[0] = max(peaks[0], anonymous_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    study = run(**options)
    ended.set()
    watching.join()
    tables = sum(int(frame.memory_usage(deep=True).sum()) for frame in study.tables.values())
    arrays = [array for group in study.arrays.values() for array in group.values()]
    sizes = [array.nbytes for array in arrays]
    print(json.dumps({"peak": peaks[0] - before, "tables": tables, "arrays": sizes}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
