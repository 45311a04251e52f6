"""The analysis of sparsity: what it makes, and how it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ...study.study import Study
from .config import SparsityConfig

if TYPE_CHECKING:
    import torch

    from ...models.loading import LanguageModel

_LAYER = Column("layer", "integer", "the layer, counted from 0")
_MATRIX = Column("matrix", "text", "query, key, value or output: W_Q, W_K, W_V or W_O")
_THRESHOLD = Column("threshold", "number", "the threshold δ", "", "R14")
_BELOW = (
    Column("below", "number", "fraction of entries with |w| < δ", "", "Shen et al. §3.2"),
    Column("below_relative", "number", "fraction of entries with |w| < δ · std(W)", "", "R14"),
)
FRACTIONS = Table("fractions", "one layer, matrix and threshold", (_LAYER, _MATRIX, _THRESHOLD, *_BELOW))
MATRICES = Table(
    "matrices",
    "one layer and matrix",
    (
        _LAYER,
        _MATRIX,
        Column("tensor", "text", "the tensor it was read from"),
        Column("width", "integer", "model width d"),
        Column("mean_absolute", "number", "mean of |w|"),
        Column("standard_deviation", "number", "of the entries (population)"),
        Column("excess_kurtosis", "number", "of the entries: 0 for a normal distribution"),
        Column("stable_rank", "number", "‖W‖²_F / ‖W‖²₂: 1 for a matrix of rank one"),
        Column("entries", "integer", "how many entries count"),
        Column("undefined", "integer", "NaN and infinite entries, which all numbers leave out"),
    ),
)
HEADS = Table(
    "heads",
    "one layer, matrix, head and threshold; none where heads are unknown",
    (_LAYER, _MATRIX, Column("head", "integer", "the head, counted from 0"), _THRESHOLD, *_BELOW),
)
AVERAGES = Table(
    "averages",
    "one matrix and threshold: the unweighted mean over layers (Shen et al. Fig. 2)",
    (_MATRIX, _THRESHOLD, *_BELOW),
)
CONSTRUCTION = Table(
    "construction",
    "one matrix of von Oswald et al.'s construction at the model's width",
    (_MATRIX, Column("below", "number", "fraction of entries that are zero", "", "Shen et al. §3.2")),
)

SPARSITY = register(
    Analysis(
        name="sparsity",
        summary="Measure how many entries of W_Q, W_K and W_V are near zero in each layer, without loading a model.",
        config=SparsityConfig,
        measure=f"{__package__}.measurement:measure_sparsity",
        tables=(FRACTIONS, MATRICES, HEADS, AVERAGES, CONSTRUCTION),
        figures={
            "thresholds": "iclprobe.reports.sparsity:sparsity_figure",
            "layers": "iclprobe.reports.sparsity:layers_figure",
            "heads": "iclprobe.reports.sparsity:heads_figure",
        },
        sheet="iclprobe.reports.sparsity:sparsity_sheet",
        needs="checkpoints",
        in_memory=("model",),
    )
)


def sparsity(
    model: str | Path | LanguageModel | torch.nn.Module | None = None,
    *,
    config: SparsityConfig | None = None,
    **options: Any,
) -> Study:
    """Measure how sparse W_Q, W_K and W_V are, layer by layer and head by head (Shen et al. §3.2).

    No model is built: tensors are read from the checkpoint one after another.

    Args:
        model: Hub id, directory, file, an embedded model, or a model in memory.
        config: Everything about the measurement; or give its fields as keywords.
        options: Fields of `SparsityConfig`, such as ``thresholds=(1e-2, 1e-3)``, and ``out``, ``overwrite`` and
            ``say`` of `run_analysis`.

    Raises:
        UserError: If the checkpoint cannot be read as asked, or holds undefined entries; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(SPARSITY, config, model=model, **options)
