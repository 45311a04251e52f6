"""How the attention weights move over a series of checkpoints, and how accuracy in context moves with them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...settings import make_config
from ...study.run_directory import run_directory
from ..provenance import surroundings
from ..public_settings import without_secrets
from ..study_files import write_study
from .checkpoints import Checkpoint, checkpoints_at
from .drift_config import DriftConfig
from .drift_measurement import AGAINST, Against, MatrixDrift, measure_weights
from .icl_accuracy import IclAccuracy, icl_accuracy

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class DriftStudy:
    """How weights move over checkpoints.

    Attributes:
        config: What was asked for.
        rows: One entry a layer, matrix, checkpoint, and checkpoint compared with.
        pairwise: Mean |ΔW| between every two checkpoints over all matrices and layers, ``[C, C]``, from the same
            entries of each matrix drawn at random (all of them where there are at most 16,384).
        accuracies: Accuracy at each checkpoint, if tasks were asked for.
        provenance: Versions, device and date.
    """

    config: DriftConfig
    rows: tuple[MatrixDrift, ...]
    pairwise: Tensor
    accuracies: tuple[IclAccuracy, ...]
    provenance: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name of each checkpoint."""
        return tuple(checkpoint.label for checkpoint in self.config.checkpoints)

    def parameter_gap(self, against: Against = "previous", measure: str = "mean_absolute") -> Tensor:
        """Return the gap at each checkpoint, mean over matrices and layers (Shen et al. App. B), ``[C]``.

        Args:
            against: Which other checkpoint each is compared with; NaN where there is none.
            measure: ``mean_absolute``, ``rms`` or ``relative_frobenius``.
        """
        gaps = torch.full((len(self.config.checkpoints),), math.nan, dtype=torch.float64)
        for index in range(len(gaps)):
            found = [
                getattr(row.drift, measure)
                for row in self.rows
                if row.checkpoint == index and row.against == against
            ]
            if found:
                gaps[index] = sum(found) / len(found)
        return gaps

    @property
    def cosines(self) -> tuple[int, int]:
        """How many cosines of successive updates are undefined, and out of how many.

        An update no longer than the rounding of the stored dtype has no direction, see `probes.update_cosine`.
        """
        cosines = [
            row.update_cosine for row in self.rows if row.against == "previous" and row.checkpoint >= 2
        ]
        return sum(map(math.isnan, cosines)), len(cosines)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per layer, matrix, checkpoint and checkpoint compared with."""
        import pandas

        return pandas.DataFrame(
            {
                "layer": row.layer,
                "matrix": row.matrix,
                "checkpoint": self.labels[row.checkpoint],
                "against": row.against,
                "step_gap": row.step_gap,
                **asdict(row.drift),
                "update_cosine": row.update_cosine,
            }
            for row in self.rows
        )

    def accuracies_to_pandas(self) -> pandas.DataFrame:
        """Return one row per checkpoint, task and draw of demonstrations."""
        import pandas

        return pandas.DataFrame(asdict(accuracy) for accuracy in self.accuracies)

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "checkpoints": [asdict(checkpoint) for checkpoint in self.config.checkpoints],
            "parameter_gap": {
                against: {
                    measure: self.parameter_gap(against, measure).tolist()
                    for measure in ("mean_absolute", "rms", "relative_frobenius")
                }
                for against in AGAINST
            },
            "update_cosines": dict(zip(("undefined", "of"), self.cosines, strict=True)),
            "pairwise_mean_absolute": self.pairwise.tolist(),
            "rows": [asdict(row) for row in self.rows],
            "icl": [asdict(accuracy) for accuracy in self.accuracies],
        }

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.drift_table import drift_text

        return drift_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def plot(self) -> Figure:
        """Draw parameter gap and accuracy over checkpoints (Shen et al. Figs. 3 and 9)."""
        from ...reports.drift_figures import gap_figure

        return gap_figure(self)

    def plot_layers(self) -> Figure:
        """Draw the relative gap to the previous checkpoint by layer and checkpoint, for each matrix."""
        from ...reports.drift_figures import layer_step_figure

        return layer_step_figure(self)

    def plot_pairs(self) -> Figure:
        """Draw the gap between every two checkpoints."""
        from ...reports.drift_figures import pairwise_figure

        return pairwise_figure(self)


def drift(
    checkpoints: Sequence[str | Checkpoint] | None = None,
    *,
    config: DriftConfig | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[Sequence[Any], str], Iterable[Any]] = lambda entries, name: entries,
    **options: Any,
) -> DriftStudy:
    """Measure how attention weights move over an ordered series of checkpoints (Shen et al. §3.3, App. B).

    Every tensor is read once; at any time a few tensors of one layer are in memory, however many checkpoints
    there are. No model is built unless tasks are run.

    Args:
        checkpoints: Places in order, see `checkpoints_at`, or `Checkpoint` entries.
        config: Everything about the measurement; or give its fields as keywords.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        progress: Wraps what is worked through, with its name, to show how far it is.
        options: Fields of `DriftConfig`, such as ``icl=("sst2",)``.

    Raises:
        UserError: If the checkpoints cannot be read, are of different shapes, or hold undefined entries.
    """
    given = dict(options)
    if checkpoints is not None:
        names = [entry for entry in checkpoints if isinstance(entry, str)]
        given["checkpoints"] = checkpoints_at(names) if len(names) == len(checkpoints) else tuple(checkpoints)
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: DriftConfig = make_config(DriftConfig, {**base, **given}, "drift")
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    start = time.perf_counter()
    with directory as folder:
        rows, pairwise = measure_weights(settings, progress)
        accuracies = tuple(
            accuracy
            for checkpoint in progress(settings.checkpoints if settings.icl else (), "in context")
            for accuracy in icl_accuracy(
                checkpoint,
                settings.icl,
                shots=settings.shots,
                seeds=settings.seeds,
                limit=settings.limit,
                data=settings.data,
                device=settings.device,
                tokenizer=settings.tokenizer,
                trust_remote_code=settings.trust_remote_code,
            )
        )
        provenance = surroundings(settings.device, time.perf_counter() - start)
        result = DriftStudy(without_secrets(settings), rows, pairwise, accuracies, provenance)
        if folder is not None:
            frames = {"drift": result.to_pandas()}
            if accuracies:
                frames["accuracy"] = result.accuracies_to_pandas()
            write_study(
                folder,
                config=result.config,
                results=result.results(),
                table=result.table(),
                frames=frames,
                figures={"gap": result.plot(), "layers": result.plot_layers(), "pairs": result.plot_pairs()},
                provenance=provenance,
            )
    return result
