"""The analysis of drift: what it makes, and how it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ...study.study import Study
from ..weights.checkpoints import Checkpoint
from .config import DriftConfig

_CHECKPOINT = (
    Column("place", "integer", "the checkpoint's place in the series, counted from 0"),
    Column("checkpoint", "text", "what it is called: its step, where its name tells one"),
)
_AGAINST = Column("against", "text", "which checkpoint it is compared with: previous, first or last")
_MEASURES = (
    Column("mean_absolute", "number", "mean of |ΔW|, the parameter gap", "", "Shen et al. App. B"),
    Column("rms", "number", "root of the mean of ΔW²"),
    Column("relative_frobenius", "number", "‖ΔW‖ / ‖W‖, of the earlier W; NaN where that is zero"),
)
_COSINE = Column(
    "update_cosine",
    "number",
    "with the update before, of previous only; NaN where one is no longer than the stored weights' rounding",
    "cosine",
)
DRIFT_ROWS = Table(
    "drift",
    "one layer, matrix, checkpoint, and checkpoint compared with",
    (
        Column("layer", "integer", "the layer, counted from 0"),
        Column("matrix", "text", "query, key, value or output: W_Q, W_K, W_V or W_O"),
        *_CHECKPOINT,
        _AGAINST,
        Column(
            "step_gap", "integer", "training steps between the two, where known", "", "Shen et al. App. B"
        ),
        *_MEASURES,
        _COSINE,
        Column("entries", "integer", "how many entries count"),
        Column(
            "undefined", "integer", "entries that are NaN or infinite in either, which all numbers leave out"
        ),
    ),
)
GAPS = Table(
    "gaps",
    "one checkpoint, and checkpoint compared with: means over matrices and layers (Shen et al. App. B)",
    (*_CHECKPOINT, _AGAINST, *_MEASURES, _COSINE),
)
BETWEEN = Table(
    "between",
    "every two checkpoints, over all matrices and layers",
    (
        *_CHECKPOINT,
        Column("other_place", "integer", "the other checkpoint's place"),
        Column("other", "text", "what the other is called"),
        Column(
            "mean_absolute",
            "number",
            "mean of |ΔW|, of the same entries of each matrix drawn at random: all of at most 16,384",
        ),
    ),
)
ACCURACY = Table(
    "accuracy",
    "one checkpoint, task and draw of demonstrations",
    (
        *_CHECKPOINT,
        Column("task", "text", "the task"),
        Column("seed", "integer", "of the draw of demonstrations"),
        Column("shots", "integer", "demonstrations that fitted"),
        Column("queries", "integer", "queries asked"),
        Column("zero_shot", "number", "accuracy over the label set without demonstrations"),
        Column("icl", "number", "accuracy over the label set with demonstrations", "", "Shen et al. §3.3"),
        Column(
            "icl_vocabulary", "number", "accuracy over the whole vocabulary with demonstrations", "", "R16"
        ),
        Column("chance", "number", "one over the number of labels"),
    ),
)
CHECKPOINTS = Table(
    "checkpoints",
    "one checkpoint",
    (
        *_CHECKPOINT,
        Column("model", "text", "hub id, directory, file or embedded model"),
        Column("revision", "text", "branch, tag or commit; of pocket a training step"),
        Column("step", "integer", "the training step, where its name tells it"),
    ),
)

DRIFT = register(
    Analysis(
        name="drift",
        summary="Measure how far W_Q, W_K and W_V move over a series of checkpoints, without loading a model.",
        config=DriftConfig,
        measure=f"{__package__}.measurement:measure_drift",
        tables=(DRIFT_ROWS, GAPS, BETWEEN, ACCURACY, CHECKPOINTS),
        figures={
            "gap": "iclprobe.reports.drift_figures:drift_figure",
            "layers": "iclprobe.reports.drift_figures:layers_figure",
            "pairs": "iclprobe.reports.drift_figures:pairs_figure",
        },
        sheet="iclprobe.reports.drift:drift_sheet",
        needs="checkpoints",
        in_memory=(),
    )
)


def drift(
    checkpoints: Sequence[str | Path | Checkpoint] | None = None,
    *,
    config: DriftConfig | None = None,
    **options: Any,
) -> Study:
    """Measure how attention weights move over an ordered series of checkpoints (Shen et al. §3.3, App. B).

    Args:
        checkpoints: Places in order, see `checkpoints_at`, or `Checkpoint` entries; nothing is the series that
            ``repo`` and ``steps`` or ``glob`` name, or else the embedded model's.
        config: Everything about the measurement; or give its fields as keywords.
        options: Fields of `DriftConfig`, such as ``icl=("sst2",)``, and ``out``, ``overwrite`` and ``say`` of
            `run_analysis`.

    Raises:
        UserError: If the checkpoints cannot be read, are of different shapes, or hold undefined entries; nothing is
            written then.
    """
    from ..runner import run_analysis

    given = {} if checkpoints is None else {"checkpoints": checkpoints}
    return run_analysis(DRIFT, config, **given, **options)
