"""Where each number of an outputs run before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from golden.arm_rows import Pair, prompt_pairs, row_pairs

from iclprobe.study.study import Study

_COMMON = [
    *(
        "outputs",
        "--model",
        "pocket",
        "--device",
        "cpu",
        "--batch-size",
        "8",
        "--shots",
        "1,4",
        "--seeds",
        "0,1",
    ),
    *("--limit", "6", "--epochs", "2", "--arms", "shen,shen_deep", "--draw-layers", "2"),
    *("--lr", "GD=0.1,1e9;GD, deep layer=auto", "--candidates", "0.01,0.1", "--icl-orders", "2"),
    *("--top-k", "5"),
]
OLD = [*_COMMON, "--every", "1"]
NEW = [*_COMMON, "--evaluation-epochs", "1"]


def pairs(old: dict[str, Any], study: Study) -> Iterator[Pair]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    for name in ("top_k", "overlap_norm"):
        yield name, old[name], getattr(study.config, name)
    yield from row_pairs(old, study)
    yield from prompt_pairs(old, study)
    yield from _checkpoint_pairs(old, study)


def _checkpoint_pairs(old: dict[str, Any], study: Any) -> Iterator[Pair]:
    """Yield what the table holds, and what is made again of the top tokens."""
    table = study.tables["pairs"]
    for number, entry in enumerate(old["checkpoint_pairs"]):
        path, arm, measure = f"checkpoint_pairs.{number}", entry["arm"], entry["measure"]
        found = table[table["arm"] == arm]
        labels = list(dict.fromkeys(found["checkpoint"]))
        again = study.pairwise(arm, measure).values.tolist()
        yield f"{path}.arm", arm, found["arm"].iloc[0]
        yield f"{path}.measure", measure, measure if measure in table.columns else ...
        for place, label in enumerate(entry["labels"]):
            yield f"{path}.labels.{place}", label, labels[place]
        for row, values in enumerate(entry["values"]):
            for column, value in enumerate(values):
                at = (found["checkpoint"] == labels[row]) & (found["other"] == labels[column])
                held = found.loc[at, measure].item()
                yield f"{path}.values.{row}.{column}", value, held if held == again[row][column] else ...
