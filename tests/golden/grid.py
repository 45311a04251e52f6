"""Where each number of a run of several comparisons before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iclprobe.study.study import Study

OLD = [
    *("compare", "--model", "pocket", "--device", "cpu", "--batch-size", "8", "--seeds", "0,1"),
    *("--limit", "6", "--shots", "1,2", "--recipe", "dai,barnatan_lcft", "--lr", "0.05"),
]
NEW = OLD


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    for name in ("model", "task"):
        yield name, old[name], getattr(study.config, name)
    yield "seeds", old["seeds"], list(study.config.seeds)
    over_draws = study.tables["over_draws"].set_index(["recipe", "shots", "measure"])
    for place, comparison in enumerate(old["comparisons"]):
        path, cell = f"comparisons.{place}", (comparison["recipe"], comparison["shots"])
        yield f"{path}.recipe", comparison["recipe"], study.cells[place][0]  # type: ignore[attr-defined]
        yield f"{path}.shots", comparison["shots"], study.cells[place][1]  # type: ignore[attr-defined]
        for measure, numbers in comparison["measures"].items():
            for name, value in numbers.items():
                yield f"{path}.measures.{measure}.{name}", value, over_draws.loc[(*cell, measure), name]
