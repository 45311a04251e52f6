"""Where each number of an order run before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from golden.arm_rows import Pair, prompt_pairs, row_pairs

from iclprobe.study.study import Study

_COMMON = [
    *("order", "--model", "pocket", "--device", "cpu", "--batch-size", "8", "--shots", "4", "--seeds", "0,1"),
    *("--limit", "6", "--orders", "3", "--epochs", "2", "--arms", "shen,shen_sgd,shen_deep"),
    *("--batch-sizes", "1", "--draw-layers", "2", "--lr", "GD=0.1,1e9;SGD=0.01;GD, deep layer=auto"),
    *("--candidates", "0.01,0.1"),
]
OLD = [*_COMMON, "--every", "1"]
NEW = [*_COMMON, "--evaluation-epochs", "1"]


def pairs(old: dict[str, Any], study: Study) -> Iterator[Pair]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    for name in ("aggregate", "ddof", "top_k"):
        yield name, old[name], getattr(study.config, name)
    yield from row_pairs(old, study)
    yield from prompt_pairs(old, study)
