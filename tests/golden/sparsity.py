"""Where each number of a sparsity run before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iclprobe.study.study import Study

OLD = [
    *("sparsity", "pocket", "--revision", "256", "--matrices", "q,k,v,o"),
    *("--threshold", "1e-1,1e-2,1e-3", "--layers", "0,2,-1", "--device", "cpu"),
]
NEW = OLD
NUMBERS = (
    *("mean_absolute", "standard_deviation", "excess_kurtosis", "stable_rank"),
    *("entries", "undefined"),
)


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    for path, before, now in _lists(old, study):
        if not isinstance(before, list):
            yield path, before, now
            continue
        rows = now if isinstance(now, list) else []
        assert len(before) == len(rows), path
        for place, (one, other) in enumerate(zip(before, rows, strict=True)):
            if isinstance(one, list):
                yield from (
                    (f"{path}.{place}.{inner}", *each)
                    for inner, each in enumerate(zip(one, other, strict=True))
                )
            else:
                yield f"{path}.{place}", one, other


def _lists(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    tables = study.tables
    matrices = tables["matrices"].astype(object)
    for name in ("model", "revision"):
        yield name, old[name], getattr(study.config, name)
    yield "thresholds", old["thresholds"], list(dict.fromkeys(tables["averages"]["threshold"]))
    yield "width", old["width"], matrices["width"].max()
    yield "undefined", old["undefined"], matrices["undefined"].sum()
    averages = tables["averages"].set_index("matrix")
    for matrix, numbers in old["averaged_over_layers"].items():
        for column in ("below", "below_relative"):
            path = f"averaged_over_layers.{matrix}.{column}"
            yield path, numbers[column], averages.loc[[matrix], column].tolist()
    fractions = tables["fractions"].set_index(["layer", "matrix"]).sort_index(kind="stable")
    heads = tables["heads"].set_index(["layer", "matrix"]).sort_index(kind="stable")
    by_key = matrices.set_index(["layer", "matrix"])
    for place, row in enumerate(old["layers"]):
        key, path = (row["layer"], row["matrix"]), f"layers.{place}"
        for column in ("layer", "matrix"):
            yield f"{path}.{column}", row[column], matrices[column][place]
        for column in ("below", "below_relative"):
            yield f"{path}.{column}", row[column], fractions.loc[[key], column].tolist()
        of_heads = heads.loc[[key]].pivot(index="head", columns="threshold", values="below")
        yield f"{path}.head_below", row["head_below"], of_heads[old["thresholds"]].to_numpy().tolist()
        for column in ("tensor", *NUMBERS):
            yield f"{path}.{column}", row[column], by_key.loc[key, column]
