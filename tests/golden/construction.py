"""Where each number of a run of the construction before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iclprobe.study.study import Study

OLD = [
    *("construction", "--n-x", "3", "--n-y", "2", "--demonstrations", "5", "--steps", "250", "--lr", "0.005"),
    *("--batch-size", "256", "--demonstration-counts", "1,5,20", "--weight-scales", "0.5,2"),
]
NEW = OLD
_AGREEMENT = ("prediction_difference", "sensitivity_cosine", "sensitivity_difference")


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    tables = study.tables
    constructed, trained = tables["construction"].iloc[0], tables["training"].iloc[-1]
    yield "step_size", old["step_size"], constructed["step_size"]
    losses = {"trained": trained["loss"], "gradient_descent": constructed["loss"]}
    yield "loss", old["loss"], losses
    yield "agreement", old["agreement"], {name: trained[name] for name in _AGREEMENT}
    distances = {name: constructed[f"{name}_distance"] for name in ("key_query", "projected_value")}
    yield "product_distances", old["product_distances"], distances
    yield "training", old["training"], tables["training"].to_dict("records")
    yield from _sweeps(old["sweeps"], tables["sweeps"])
    yield "estimators", old["estimators"], tables["estimators"].to_dict("records")
    zeros = tables["zeros"]
    at_width = {
        "model": zeros["model"].iloc[0],
        "width": zeros["width"].iloc[0],
        **dict(zip(zeros["matrix"], zeros["zeros"], strict=True)),
    }
    yield "constructed_zeros_at_width", old["constructed_zeros_at_width"], at_width


def _sweeps(old: list[dict[str, Any]], sweeps: Any) -> Iterator[tuple[str, object, object]]:
    found = [rows for _, rows in sweeps.groupby("varied", sort=False)]
    yield "sweeps", len(old), len(found)
    for place, (before, rows) in enumerate(zip(old, found, strict=True)):
        learners = dict(iter(rows.groupby("learner", sort=False)))
        first = next(iter(learners.values()))
        path = f"sweeps.{place}"
        yield f"{path}.varied", before["varied"], first["varied"].iloc[0]
        yield f"{path}.values", before["values"], first["value"].tolist()
        losses = {name: of_learner["loss"].tolist() for name, of_learner in learners.items()}
        yield f"{path}.losses", before["losses"], losses
        gaps = {
            name: of_learner["difference"].tolist()
            for name, of_learner in learners.items()
            if of_learner["difference"].notna().all()
        }
        yield f"{path}.prediction_differences", before["prediction_differences"], gaps
