"""Analyses that take a moment and need no model: a number of a file and a seed, and one that wants little memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import torch

import iclprobe
from iclprobe.analyses.configuration import SubjectConfig
from iclprobe.settings import Settings
from iclprobe.study import analysis as registry

MOST_AT_ONCE = 3


class TinyConfig(Settings):
    """A number of a file and a seed.

    Attributes:
        file: The file.
        scale: A factor.
        rate: Anything.
        seeds: The draws.
        pause: Seconds that it takes.
        device: Where it runs, which changes nothing.
    """

    analysis: ClassVar[str] = "tiny"

    file: str
    scale: float = 1.0
    rate: float | Literal["auto"] | None = None
    seeds: tuple[int, ...] = (0,)
    pause: float = 0.0
    device: str = "cpu"


class HungryConfig(SubjectConfig):
    """Batches that memory may not hold.

    Attributes:
        always: Whether no batch fits.
    """

    always: bool = False


def measure(config: TinyConfig, context: iclprobe.Context) -> iclprobe.Measured:
    text = Path(config.file).read_bytes()
    if text.startswith(b"damaged"):
        raise iclprobe.UserError(f"{config.file!r} is damaged: mend it")
    if text.startswith(b"broken"):
        raise ZeroDivisionError("nothing\nto divide by")
    time.sleep(config.pause)
    rows = [{"seed": seed, "value": config.scale * _number(text, seed)} for seed in config.seeds]
    finding = iclprobe.Finding("the number", "There is a number.", value=rows[0]["value"], null=0.5)
    arrays = {"numbers": {"values": torch.full((64, 64), rows[0]["value"]).numpy()}}
    return iclprobe.Measured(config, {"numbers": rows}, (finding,), arrays)


def measure_hungry(config: HungryConfig, context: iclprobe.Context) -> iclprobe.Measured:
    from iclprobe.hooks import batching

    size = config.batch_size
    if size == "auto":
        size = max(1, 16 // batching._DIVISOR.get())
    if config.always or size > MOST_AT_ONCE:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    finding = iclprobe.Finding("the size", "It fits.", value=float(size))
    return iclprobe.Measured(config, {"numbers": [{"seed": 0, "value": float(size)}]}, (finding,))


def _number(text: bytes, seed: int) -> float:
    return int(hashlib.sha256(text + str(seed).encode()).hexdigest()[:8], 16) / 16**8


NUMBERS = iclprobe.Table(
    "numbers",
    "one number",
    (iclprobe.Column("seed", "integer", "the seed"), iclprobe.Column("value", "number", "the number")),
)
TINY = iclprobe.Analysis(
    "tiny", "A number of a file and a seed.", TinyConfig, measure, (NUMBERS,), needs="nothing", in_memory=()
)
HUNGRY = iclprobe.Analysis(
    "hungry", "Batches that memory may not hold.", HungryConfig, measure_hungry, (NUMBERS,)
)


@contextmanager
def registered() -> Iterator[None]:
    """Know both analyses while the block runs."""
    iclprobe.register(TINY)
    iclprobe.register(HUNGRY)
    try:
        yield
    finally:
        for name in (TINY.name, HUNGRY.name):
            registry._REGISTERED.pop(name, None)
