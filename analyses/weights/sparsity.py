"""How sparse the attention weights of a checkpoint are, layer by layer and head by head."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...models.matrices import Matrix
from ...models.weights import AttentionProjection, attention_projections
from ...probes import WeightStatistics, weight_statistics
from ...settings import make_config
from ...study.run_directory import run_directory
from ..provenance import surroundings
from ..public_settings import without_secrets
from ..study_files import write_study
from ..worker_threads import work_through
from .reading import require_defined
from .sparsity_config import SparsityConfig

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from ...models.loading import LanguageModel


@dataclass(frozen=True, eq=False)
class MatrixStatistics:
    """One matrix of one layer.

    Attributes:
        layer: Counted from 0.
        matrix: Which of W_Q, W_K, W_V and W_O.
        name: The tensor it was read from.
        statistics: What it looks like.
    """

    layer: int
    matrix: Matrix
    name: str
    statistics: WeightStatistics


@dataclass(frozen=True, eq=False)
class Sparsity:
    """The attention weights of a checkpoint, measured.

    Attributes:
        config: What was asked for.
        rows: One entry a layer and matrix.
        width: Model width d.
        provenance: Versions, device and date.
    """

    config: SparsityConfig
    rows: tuple[MatrixStatistics, ...]
    width: int
    provenance: dict[str, Any]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers measured."""
        return tuple(dict.fromkeys(row.layer for row in self.rows))

    @property
    def undefined(self) -> int:
        """How many entries were NaN or infinite, in all matrices together."""
        return sum(row.statistics.undefined for row in self.rows)

    def of(self, matrix: Matrix) -> tuple[WeightStatistics, ...]:
        """Return the statistics of one matrix in every layer."""
        return tuple(row.statistics for row in self.rows if row.matrix == matrix)

    def averaged(self, matrix: Matrix, *, relative: bool = False) -> Tensor:
        """Return the fraction below each threshold, unweighted mean over layers (Shen et al. Fig. 2), ``[T]``."""
        chosen = [row.below_relative if relative else row.below for row in self.of(matrix)]
        return torch.stack(chosen).mean(dim=0)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per layer, matrix and threshold."""
        import pandas

        return pandas.DataFrame(
            {
                "layer": row.layer,
                "matrix": row.matrix,
                "threshold": threshold,
                "below": float(row.statistics.below[index]),
                "below_relative": float(row.statistics.below_relative[index]),
                "mean_absolute": row.statistics.mean_absolute,
                "standard_deviation": row.statistics.standard_deviation,
                "excess_kurtosis": row.statistics.excess_kurtosis,
                "stable_rank": row.statistics.stable_rank,
                "entries": row.statistics.entries,
                "undefined": row.statistics.undefined,
                "tensor": row.name,
            }
            for row in self.rows
            for index, threshold in enumerate(row.statistics.thresholds)
        )

    def heads_to_pandas(self) -> pandas.DataFrame:
        """Return one row per layer, matrix, head and threshold; empty where heads are unknown."""
        import pandas

        rows = [
            (row.layer, row.matrix, head, threshold, float(below[index]), float(relative[index]))
            for row in self.rows
            if row.statistics.head_below is not None and row.statistics.head_below_relative is not None
            for head, (below, relative) in enumerate(
                zip(row.statistics.head_below, row.statistics.head_below_relative, strict=True)
            )
            for index, threshold in enumerate(row.statistics.thresholds)
        ]
        columns = ["layer", "matrix", "head", "threshold", "below", "below_relative"]
        return pandas.DataFrame(rows, columns=pandas.Index(columns))

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "model": self.config.model,
            "revision": self.config.revision,
            "width": self.width,
            "thresholds": list(self.config.thresholds),
            "undefined": self.undefined,
            "averaged_over_layers": {
                matrix: {
                    "below": self.averaged(matrix).tolist(),
                    "below_relative": self.averaged(matrix, relative=True).tolist(),
                }
                for matrix in self.config.matrices
            },
            "layers": [
                {
                    "layer": row.layer,
                    "matrix": row.matrix,
                    "tensor": row.name,
                    "below": row.statistics.below.tolist(),
                    "below_relative": row.statistics.below_relative.tolist(),
                    "head_below": None
                    if row.statistics.head_below is None
                    else row.statistics.head_below.tolist(),
                    **{
                        name: getattr(row.statistics, name)
                        for name in (
                            *("mean_absolute", "standard_deviation", "excess_kurtosis", "stable_rank"),
                            *("entries", "undefined"),
                        )
                    },
                }
                for row in self.rows
            ],
        }

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.sparsity_table import sparsity_text

        return sparsity_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def plot(self) -> Figure:
        """Draw the fraction below δ against δ, averaged over layers (Shen et al. Fig. 2)."""
        from ...reports.sparsity_figures import threshold_figure

        return threshold_figure(self)

    def plot_layers(self, *, relative: bool = False) -> Figure:
        """Draw the fraction below each δ by layer (Shen et al. Fig. 10)."""
        from ...reports.sparsity_figures import layer_figure

        return layer_figure(self, relative=relative)

    def plot_heads(self, threshold: float | None = None) -> Figure:
        """Draw the fraction below one δ by layer and head."""
        from ...reports.sparsity_figures import head_figure

        return head_figure(self, threshold)


def sparsity(
    model: str | Path | LanguageModel | torch.nn.Module | None = None,
    *,
    config: SparsityConfig | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[Iterator[AttentionProjection]], Iterator[AttentionProjection]] = iter,
    **options: Any,
) -> Sparsity:
    """Measure how sparse W_Q, W_K and W_V are, layer by layer and head by head (Shen et al. §3.2).

    No model is built: tensors are read from the checkpoint one after another.

    Args:
        model: Hub id, directory, file, an embedded model, or a model in memory.
        config: Everything about the measurement; or give its fields as keywords.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        progress: Wraps the iterator over the matrices, to show how far the reading is.
        options: Fields of `SparsityConfig`, such as ``thresholds=(1e-2, 1e-3)``.

    Raises:
        UserError: If the checkpoint cannot be read as asked, or holds undefined entries.
    """
    in_memory = model is not None and not isinstance(model, str | Path)
    named = {} if model is None else {"model": _name_of(model) if in_memory else str(model)}
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: SparsityConfig = make_config(SparsityConfig, {**base, **options, **named}, "sparsity")
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    start = time.perf_counter()
    with directory as folder:
        read = attention_projections(
            model if model is not None and in_memory else settings.model,
            revision=settings.revision,
            **settings.reading,
        )
        measured = work_through(
            progress(iter(read)), lambda projection: _measure(settings, projection), device=settings.device
        )
        rows = tuple(row for row, _ in measured)
        width = max((width for _, width in measured), default=0)
        kept = without_secrets(settings)
        result = Sparsity(kept, rows, width, surroundings(settings.device, time.perf_counter() - start))
        if folder is not None:
            figures = {"thresholds": result.plot(), "layers": result.plot_layers()}
            if all(row.statistics.head_below is not None for row in rows):
                figures["heads"] = result.plot_heads()
            write_study(
                folder,
                config=kept,
                results=result.results(),
                table=result.table(),
                frames={"layers": result.to_pandas(), "heads": result.heads_to_pandas()},
                figures=figures,
                provenance=result.provenance,
            )
    return result


def _measure(config: SparsityConfig, projection: AttentionProjection) -> tuple[MatrixStatistics, int]:
    """Return the statistics of one matrix, and the model's width."""
    weight = projection.weight.T if projection.matrix == "output" else projection.weight
    statistics = weight_statistics(
        weight, config.thresholds, heads=_heads(projection), stable_rank=config.stable_rank
    )
    require_defined(
        statistics.undefined, weight.numel(), projection.name, config.model, config.allow_undefined
    )
    return MatrixStatistics(projection.layer, projection.matrix, projection.name, statistics), (
        projection.width or weight.shape[1]
    )


def _heads(projection: AttentionProjection) -> int | None:
    geometry = projection.geometry
    if geometry is None:
        return None
    return geometry.key_value_heads if projection.matrix in ("key", "value") else geometry.heads


def _name_of(model: Any) -> str:
    return str(getattr(model, "name", None) or type(model).__name__)
