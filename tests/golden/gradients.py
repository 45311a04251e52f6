"""Where each number of a run of gradients before stands in a study's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden.whole_prompt import whole_prompt

from iclprobe.study.study import Study

# Nothing runs in batches: no query is asked.
OLD = [
    *("gradients", "--model", "pocket", "--device", "cpu", "--shots", "4", "--seeds", "0,1", "--lr", "0.05"),
    *("--parameters", "layer_all", "--reduction", "token_sum", "--accumulate", "--loss-scale", "4"),
]
NEW = OLD


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    for name in ("model", "task", "parameters", "reduction", "accumulate", "loss_scale"):
        yield name, old[name], getattr(study.config, name)
    norms, steps = study.tables["norms"], study.tables["steps"]
    yield "layers", old["layers"], list(dict.fromkeys(norms["layer"]))
    yield from whole_prompt("prompt", old["prompt"], study)
    runs = study.tables["runs"].to_dict("records")
    yield "runs", len(old["runs"]), len(runs)
    for place, (before, run) in enumerate(zip(old["runs"], runs, strict=True)):
        for name in ("recipe", "seed", "learning_rate"):
            yield f"runs.{place}.{name}", before[name], run[name]
        own, losses = (
            frame[(frame["recipe"] == run["recipe"]) & (frame["seed"] == run["seed"])]
            for frame in (norms, steps)
        )
        by_step = own.pivot(index="step", columns="layer", values="norm").to_numpy()
        means = torch.tensor(by_step).mean(dim=0).tolist()
        yield f"runs.{place}.norms", before["norms"], by_step
        yield f"runs.{place}.mean_over_steps", before["mean_over_steps"], means
        yield f"runs.{place}.losses", before["losses"], losses["loss"]
