"""The arm of the argument in which a transformer is gradient descent: trained for it, and compared with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...addresses import public
from ...models.weights import attention_projections
from ...probes.constructions import von_oswald_construction
from ...probes.function_agreement import FunctionAgreement
from ...probes.linear_attention import LinearSelfAttention, product_distances
from ...probes.linear_estimators import best_step_size
from ...settings import make_config
from ...study.run_directory import run_directory
from ..provenance import surroundings
from ..public_settings import without_secrets
from .config import ConstructionConfig
from .files import write_construction
from .sparsity import PretrainedCurves, SparsityCurves, pretrained_curves, sparsity_curves
from .sweeps import (
    EstimatorAgreement,
    Sweep,
    compare_with_estimators,
    evaluation_tasks,
    interpolation,
    other_demonstrations,
    scaled_tasks,
)
from .training import TrainingCurve, layer_predictions, regression_loss, train_layer

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ConstructionStudy:
    """A linear self-attention layer trained for ICL beside von Oswald et al.'s construction.

    Attributes:
        config: What was asked for.
        step_size: GD's eta, found by line search on tasks of its own.
        construction: The hand-made layer, which is one step of gradient descent.
        trained: The trained layer.
        construction_loss: Of the construction, mean of ½ ‖f - y‖² over the evaluation tasks.
        training: What was seen during training; its last entry is the trained layer.
        interpolation: Between the two weight sets.
        input_scales: With x larger or smaller than in training.
        weight_scales: With W larger or smaller than in training.
        demonstration_counts: With more or fewer demonstrations than in training.
        estimators: SPD and ILWD with the trained layer.
        sparsity: Constructed, trained and pretrained matrices side by side.
        provenance: Versions and duration.
    """

    config: ConstructionConfig
    step_size: float
    construction: LinearSelfAttention
    trained: LinearSelfAttention
    construction_loss: float
    training: TrainingCurve
    interpolation: Sweep
    input_scales: Sweep
    weight_scales: Sweep
    demonstration_counts: Sweep
    estimators: tuple[EstimatorAgreement, ...]
    sparsity: SparsityCurves
    provenance: Mapping[str, Any]

    @property
    def agreement(self) -> FunctionAgreement:
        """The three comparisons of the trained layer with gradient descent."""
        return self.training.agreements[-1]

    @property
    def product_distances(self) -> tuple[float, float]:
        """How far the trained W_Kᵀ W_Q and P W_V are from the constructed ones, see `product_distances`."""
        return product_distances(self.trained, self.construction)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Everything that was varied."""
        return (self.interpolation, self.input_scales, self.weight_scales, self.demonstration_counts)

    def to_pandas(self) -> pandas.DataFrame:
        """Return every number as one row: what was varied, at which value, of which learner, which measure."""
        from .files import study_frame

        return study_frame(self)

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        from .files import results_of

        return results_of(self)

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.construction_table import construction_text

        return construction_text(self)

    def plot(self) -> Figure:
        """Draw training, interpolation and out-of-distribution behaviour."""
        from ...reports.construction_figures import agreement_figure

        return agreement_figure(self)

    def plot_matrices(self) -> Figure:
        """Draw the trained products beside the constructed ones."""
        from ...reports.construction_figures import products_figure

        return products_figure(self)

    def plot_sparsity(self) -> Figure:
        """Draw the sparsity of constructed, trained and pretrained matrices."""
        from ...reports.construction_sparsity_figure import construction_sparsity_figure

        return construction_sparsity_figure(self.sparsity)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run directory, whole or not at all."""
        with run_directory(Path(path), overwrite=overwrite) as folder:
            write_construction(folder, self)
        return Path(path)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def _repr_html_(self) -> str:
        from ...reports.construction_table import construction_html

        return construction_html(self)


def study_construction(
    config: ConstructionConfig | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> ConstructionStudy:
    """Train a linear self-attention layer for in-context regression and compare it with gradient descent.

    The comparisons are those of von Oswald et al. 2023 (§3) and, for estimators, of Akyürek et al. 2023 (§4.1); the
    argument they belong to is Shen et al.'s §3.

    Args:
        config: Everything about the study; or give its fields as keywords.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        say: Told how far training is.
        options: Fields of `ConstructionConfig`, such as ``n_x=5`` or ``steps=1000``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    base = config.model_dump(exclude_unset=True) if config else {}
    resolved: ConstructionConfig = make_config(ConstructionConfig, {**base, **options}, "the construction")
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    with directory as folder:
        study = _study(resolved, say or (lambda line: None))
        if folder is not None:
            write_construction(folder, study)
    return study


def _study(config: ConstructionConfig, say: Callable[[str], None]) -> ConstructionStudy:
    start = time.perf_counter()
    pretrained = _pretrained(config)
    search = evaluation_tasks(config, "step size")
    step_size = best_step_size(search.x, search.y, search.query[:, None], search.target[:, None])
    construction = von_oswald_construction(
        config.n_x, config.n_y, step_size=step_size, demonstrations=config.demonstrations
    )
    tasks = evaluation_tasks(config, "evaluation")
    trained, training = train_layer(config, construction, tasks, say)
    return ConstructionStudy(
        config=without_secrets(config),
        step_size=step_size,
        construction=construction,
        trained=trained,
        construction_loss=float(regression_loss(layer_predictions(construction, tasks), tasks)),
        training=training,
        interpolation=interpolation(trained, construction, tasks, config.interpolation_points),
        input_scales=scaled_tasks(trained, construction, tasks, config.input_scales, weights=False),
        weight_scales=scaled_tasks(trained, construction, tasks, config.weight_scales, weights=True),
        demonstration_counts=other_demonstrations(config, trained, construction, step_size),
        estimators=compare_with_estimators(config, trained, step_size, tasks),
        sparsity=sparsity_curves(construction, trained, pretrained),
        provenance=surroundings("cpu", time.perf_counter() - start),
    )


def _pretrained(config: ConstructionConfig) -> PretrainedCurves | None:
    if config.model is None:
        return None
    read = attention_projections(config.model, revision=config.revision)
    return pretrained_curves(
        ((projection.matrix, projection.weight) for projection in read), public(config.model)
    )
