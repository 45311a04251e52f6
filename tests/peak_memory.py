"""The most anonymous memory that an analysis takes, in a process of its own; what files are mapped does not count.

``python peak_memory.py ANALYSIS FOLDER QUERIES...`` prints one line of JSON for each number of queries.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
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
IN_MEMORY_BYTES = 1 << 20
"""From where on recordings lie on the disk: so little that those of a few hundred queries do."""
# One arena, and large pieces given back at once: what is measured is what is in use.
_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
}


def measure(analysis: str, counts: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Return, for each number of queries, the peak and the bytes of the tables and arrays that are left."""
    command = [sys.executable, __file__, analysis, str(folder), *map(str, counts)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **_ALLOCATOR}, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    measured = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(measured) == len(counts), done.stdout
    return measured


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


def main(analysis: str, folder: Path, counts: Sequence[int]) -> None:
    """Measure each number of queries in a process forked from this one, so that imports are paid once."""
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401
    import torch

    import iclprobe
    from iclprobe.hooks import storage

    torch.set_num_threads(1)
    storage.IN_MEMORY_BYTES = IN_MEMORY_BYTES
    run = getattr(iclprobe, analysis)
    write_wide_model(folder / "model")
    for queries in counts:
        child = os.fork()
        if child == 0:
            print(json.dumps(peak_of(run, analysis, folder, queries)), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit(f"{analysis} of {queries} queries failed")


def peak_of(run: Callable[..., Any], analysis: str, folder: Path, queries: int) -> dict[str, Any]:
    write_records(records := folder / f"records-{queries}", queries)
    options = {
        "model": str(folder / "model"),
        "data": str(records),
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
    return {"peak": peaks[0] - before, "tables": tables, "arrays": [array.nbytes for array in arrays]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(count) for count in sys.argv[3:]])
