"""How fast weights are read: sparsity against loading the model, drift over more and more checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from .measure import peak_memory
from .options import Options

WIDTH, LAYERS, HIDDEN, VOCABULARY = 2048, 9, 5632, 16000
SMALL_WIDTH, SMALL_LAYERS, SMALL_HIDDEN = 768, 6, 2048
SERIES = (2, 5, 10)
WANTED = ("q_proj", "k_proj", "v_proj")


def run(options: Options) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large"
        write_llama(large, WIDTH, LAYERS, HIDDEN, VOCABULARY, seed=0, shard="300MB")
        size = sum(path.stat().st_size for path in large.glob("*.safetensors"))
        measured = {
            state: _measure(large, options.pairs, cold=cold)
            for state, cold in (("warm", False), ("cold", True))
        }
        series = [Path(folder) / f"step{step}" for step in range(max(SERIES))]
        for step, place in enumerate(series):
            write_llama(place, SMALL_WIDTH, SMALL_LAYERS, SMALL_HIDDEN, 1000, seed=step)
        drifts = _measure_series(series, options.pairs)
    return {
        "checkpoint": f"Llama shape, {LAYERS} layers of width {WIDTH}, bf16, {size / 1e9:.2f} GB in shards",
        "runs of each": options.pairs,
        "files in the page cache": measured["warm"],
        "files dropped from the page cache": measured["cold"],
        "drift over a series": {
            "checkpoints": f"{SMALL_LAYERS} layers of width {SMALL_WIDTH}, bf16, in the page cache",
            **drifts,
        },
    }


def _measure(place: Path, runs: int, *, cold: bool) -> dict[str, Any]:
    """Run every procedure in turn, several times, and put the best runs side by side."""
    names = ("read_wanted", "sparsity_of_entries", "load_then_reduce_entries", "sparsity", "load_then_reduce")
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            if cold:
                drop_from_page_cache(place)
            else:
                read_whole(place)
            found[name].append(_child(name, str(place)))
    seconds = {name: min(each for each, _ in runs_of) for name, runs_of in found.items()}
    peak = {name: min(each for _, each in runs_of) for name, runs_of in found.items()}

    def compared(ours: str, theirs: str) -> dict[str, float]:
        return {
            "time / load then the same reduction": round(seconds[ours] / seconds[theirs], 3),
            "its memory / that of load then reduce": round(peak[ours] / peak[theirs], 3),
            "time / reading the same bytes once": round(seconds[ours] / seconds["read_wanted"], 3),
        }

    return {
        "seconds, best": {name: round(each, 3) for name, each in seconds.items()},
        "bytes of memory beyond the libraries', best": peak,
        "sparsity without stable rank": compared("sparsity_of_entries", "load_then_reduce_entries"),
        "sparsity with stable rank": compared("sparsity", "load_then_reduce"),
    }


def _measure_series(series: list[Path], runs: int) -> dict[str, Any]:
    """Run drift over more and more checkpoints: what each one adds to the time, and the peak memory."""
    found: dict[int, list[tuple[float, int]]] = {count: [] for count in SERIES}
    for _ in range(runs):
        for count in SERIES:
            found[count].append(_child("drift", *(str(place) for place in series[:count])))
    seconds = {count: min(each for each, _ in runs_of) for count, runs_of in found.items()}
    return {
        **{
            f"{count} checkpoints": {
                "seconds, best": round(seconds[count], 3),
                "bytes beyond the libraries', best": min(each for _, each in runs_of),
            }
            for count, runs_of in found.items()
        },
        "seconds for each checkpoint more": {
            f"{less} to {more}": round((seconds[more] - seconds[less]) / (more - less), 4)
            for less, more in pairwise(SERIES)
        },
    }


def drop_from_page_cache(folder: Path) -> None:
    """Make the next read of a folder's files go to the disk; other files stay in memory."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            # Only what has been written out can be dropped.
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_whole(folder: Path) -> None:
    """Bring a folder's files into the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def write_llama(
    folder: Path, width: int, layers: int, hidden: int, vocabulary: int, *, seed: int, shard: str = "5GB"
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        vocab_size=vocabulary,
    )
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.to_empty(device="cpu").bfloat16()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
    model.save_pretrained(folder, max_shard_size=shard)


def _child(procedure: str, *places: str) -> tuple[float, int]:
    """Run one procedure in a process of its own: seconds, and peak resident bytes beyond the libraries'."""
    code = "from benchmarks.weight_speed import report; import sys; report(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(torch.get_num_threads()), procedure, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = done.stdout.strip().splitlines()[-1].split()
    return float(seconds), int(memory)


def report(threads: str, procedure: str, *places: str) -> None:
    """Run a procedure and print its seconds and the peak resident bytes that it added."""
    # Loaded on every side, so that imports are part of none.
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: F401

    import iclprobe.analyses.drift.measurement
    import iclprobe.analyses.runner
    import iclprobe.analyses.sparsity.measurement  # noqa: F401

    torch.set_num_threads(int(threads))
    work = PROCEDURES[procedure]
    # The caches of the libraries fill on first use.
    torch.ones(4096, 256).abs().sum()
    before = _resident()
    start = time.perf_counter()
    work(*places)
    seconds = time.perf_counter() - start
    print(seconds, peak_memory() - before)


def sparsity(place: str) -> None:
    from iclprobe.analyses.sparsity.registration import sparsity

    sparsity(place)


def sparsity_of_entries(place: str) -> None:
    from iclprobe.analyses.sparsity.registration import sparsity

    sparsity(place, stable_rank=False)


def load_then_reduce(place: str, *, stable_rank: bool = True) -> None:
    """Do what there is without this toolkit's reader: load the model, then go through its matrices."""
    from transformers import AutoModelForCausalLM

    from iclprobe.probes import weight_statistics

    model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16, trust_remote_code=False)
    for layer in model.model.layers:
        for name in WANTED:
            weight = getattr(layer.self_attn, name).weight.detach()
            weight_statistics(weight, heads=weight.shape[0] // 64, stable_rank=stable_rank)


def load_then_reduce_entries(place: str) -> None:
    load_then_reduce(place, stable_rank=False)


def read_wanted(place: str) -> None:
    """Read the bytes of W_Q, W_K and W_V once, one tensor after another."""
    from safetensors import safe_open

    for path in sorted(Path(place).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                if name.split(".")[-2] in WANTED:
                    file.get_tensor(name).clone()


def drift(*places: str) -> None:
    from iclprobe.analyses.drift.registration import drift

    drift(list(places))


PROCEDURES = {
    procedure.__name__: procedure
    for procedure in (
        *(sparsity, sparsity_of_entries, load_then_reduce, load_then_reduce_entries, read_wanted),
        drift,
    )
}


def _resident() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
