"""Where each number of a drift run before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas

from iclprobe.study.study import Study

OLD = [
    *("drift", "--repo", "pocket", "--steps", "0,64,128,256,1152", "--matrices", "q,k,v,o"),
    *("--icl", "pocket-tone,pocket-topic-code", "--seeds", "0,1", "--limit", "32", "--shots", "4"),
    *("--device", "cpu"),
]
NEW = OLD


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every number of ``results.json`` with the same number of a study; what is undefined is None."""
    tables = {name: _plain(frame) for name, frame in study.tables.items()}
    for place, checkpoint in enumerate(old["checkpoints"]):
        for name, value in checkpoint.items():
            yield f"checkpoints.{place}.{name}", value, tables["checkpoints"][name][place]
    gaps = tables["gaps"].set_index(["place", "against"])
    for against, measures in old["parameter_gap"].items():
        for measure, values in measures.items():
            for place, value in enumerate(values):
                found = gaps[measure].get((place, against))
                yield f"parameter_gap.{against}.{measure}.{place}", value, found
    drift = tables["drift"]
    cosines = drift[(drift["against"] == "previous") & (drift["place"] >= 2)]["update_cosine"]
    yield "update_cosines.undefined", old["update_cosines"]["undefined"], sum(cosines.isna())
    yield "update_cosines.of", old["update_cosines"]["of"], len(cosines)
    between = tables["between"].set_index(["place", "other_place"])["mean_absolute"]
    for place, values in enumerate(old["pairwise_mean_absolute"]):
        for other, value in enumerate(values):
            yield f"pairwise_mean_absolute.{place}.{other}", value, between[place, other]
    labels = list(tables["checkpoints"]["checkpoint"])
    assert len(old["rows"]) == len(drift) and len(old["icl"]) == len(tables["accuracy"])
    for place, row in enumerate(old["rows"]):
        assert labels[row["checkpoint"]] == drift["checkpoint"][place]
        for name in set(row) - {"drift"}:
            column = "place" if name == "checkpoint" else name
            yield f"rows.{place}.{name}", row[name], drift[column][place]
        for name, value in row["drift"].items():
            yield f"rows.{place}.drift.{name}", value, drift[name][place]
    for place, row in enumerate(old["icl"]):
        for name, value in row.items():
            yield f"icl.{place}.{name}", value, tables["accuracy"][name][place]


def _plain(frame: Any) -> Any:
    """Return a table in which what is missing or undefined is None."""
    plain = frame.astype(object)
    return plain.where(pandas.notna(plain), None)
