"""What a study of the construction leaves: one long data frame, and a run directory with both weight sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from ..study_files import write_study
from .sparsity import THRESHOLDS

if TYPE_CHECKING:
    from pandas import DataFrame

    from .study import ConstructionStudy


def study_frame(study: ConstructionStudy) -> DataFrame:
    """Return one row per number.

    Columns: ``varied`` (what), ``value`` (to what; missing for estimators), ``learner``, ``measure``, ``number``.

    Args:
        study: The study.
    """
    import pandas

    rows: list[tuple[str, float | None, str, str, float]] = []
    training = study.training
    for step, loss, agreement in zip(
        training.steps, training.losses.tolist(), training.agreements, strict=True
    ):
        numbers = {"loss": loss, **dataclasses.asdict(agreement)}
        rows += [("training step", step, "trained layer", name, number) for name, number in numbers.items()]
    for sweep in study.sweeps:
        for measure, learners in (("loss", sweep.losses), ("prediction_difference", sweep.differences)):
            rows += [
                (sweep.varied, value, learner, measure, number)
                for learner, numbers in learners.items()
                for value, number in zip(sweep.values, numbers.tolist(), strict=True)
            ]
    for estimator in study.estimators:
        numbers = dataclasses.asdict(estimator)
        name = numbers.pop("estimator")
        rows += [("estimator", None, name, measure, number) for measure, number in numbers.items()]
    columns = ["varied", "value", "learner", "measure", "number"]
    return pandas.DataFrame(rows, columns=pandas.Index(columns))


def sparsity_frame(study: ConstructionStudy) -> DataFrame:
    """Return one row per kind of weights, matrix and threshold.

    Columns: ``weights``, ``matrix``, ``threshold``, ``below`` and ``below_relative``.

    Args:
        study: The study.
    """
    import pandas

    rows = [
        (kind, matrix, threshold, below, relative)
        for kind, matrices in study.sparsity.kinds.items()
        for matrix, curve in matrices.items()
        for threshold, below, relative in zip(
            THRESHOLDS, curve.absolute.tolist(), curve.relative.tolist(), strict=True
        )
    ]
    columns = ["weights", "matrix", "threshold", "below", "below_relative"]
    return pandas.DataFrame(rows, columns=pandas.Index(columns))


def results_of(study: ConstructionStudy) -> dict[str, Any]:
    """Return every number of a study as JSON can hold it.

    Args:
        study: The study.
    """
    key_query, projected_value = study.product_distances
    model = study.sparsity.pretrained
    return {
        "step_size": study.step_size,
        "loss": {"trained": float(study.training.losses[-1]), "gradient_descent": study.construction_loss},
        "agreement": dataclasses.asdict(study.agreement),
        "product_distances": {"key_query": key_query, "projected_value": projected_value},
        "training": [
            {"step": step, "loss": loss, **dataclasses.asdict(agreement)}
            for step, loss, agreement in zip(
                study.training.steps, study.training.losses.tolist(), study.training.agreements, strict=True
            )
        ],
        "sweeps": [
            {
                "varied": sweep.varied,
                "values": sweep.values,
                "losses": {name: numbers.tolist() for name, numbers in sweep.losses.items()},
                "prediction_differences": {
                    name: numbers.tolist() for name, numbers in sweep.differences.items()
                },
            }
            for sweep in study.sweeps
        ],
        "estimators": [dataclasses.asdict(estimator) for estimator in study.estimators],
        "constructed_zeros_at_width": None
        if model is None
        else {"model": model.model, "width": model.width, **model.constructed_zeros},
    }


def write_construction(folder: Path, study: ConstructionStudy) -> None:
    """Write every file of a run directory; the manifest, which marks it complete, comes last.

    Args:
        folder: The run directory, see `run_directory`.
        study: The study.
    """
    layers = {"trained": study.trained, "constructed": study.construction}
    matrices = {
        f"{kind}.{name}": matrix.contiguous()
        for kind, layer in layers.items()
        for name, matrix in layer.matrices.items()
    }
    save_file(matrices, folder / "weights.safetensors")
    write_study(
        folder,
        config=study.config,
        results=study.results(),
        table=study.table(),
        frames={"construction": study.to_pandas(), "sparsity": sparsity_frame(study)},
        figures={
            "agreement": study.plot(),
            "products": study.plot_matrices(),
            "sparsity": study.plot_sparsity(),
        },
        provenance=study.provenance,
    )
