"""Do finetuned models answer as the model does in context: accuracy, and the same tokens on top?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.loading import LanguageModel
from ...settings import make_config
from ...study.run_directory import run_directory
from ...tasks.task import Task
from ..prompt import PromptView
from ..study_files import write_study
from .checkpoint_pairs import CheckpointPairs, PairMeasure, compare_checkpoints
from .outputs_config import OutputsConfig
from .outputs_measurement import OutputsRow, measure_outputs
from .run import run_models
from .series import Series, series_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel

__all__ = ["CheckpointPairs", "OutputsRow", "OutputsStudy", "outputs"]


@dataclass(frozen=True, eq=False)
class OutputsStudy:
    """Answers in context beside those of finetuned models.

    Attributes:
        config: What was asked for.
        rows: One entry a model, number of shots, draw, arm, drawn layer, learning rate and epoch; zero-shot and
            in-context learning first.
        provenance: Versions, models, data, device and date.
        prompts: What each model was sent for its first query.
    """

    config: OutputsConfig
    rows: tuple[OutputsRow, ...]
    provenance: Mapping[str, Any]
    prompts: tuple[PromptView, ...] = ()

    @property
    def shots_without_icl(self) -> tuple[tuple[str, int], ...]:
        """Models and numbers of shots whose demonstrations do not fit the context window on some draw."""
        shown = {(row.model, row.shots, row.seed) for row in self.rows if row.arm == "ICL"}
        asked = ((row.model, row.shots, row.seed) for row in self.rows)
        return tuple(dict.fromkeys(key[:2] for key in asked if key not in shown))

    def series(self, measure: str = "accuracy_vocabulary") -> tuple[Series, ...]:
        """Return a measure over epochs for every model, number of shots, arm and learning rate.

        Args:
            measure: ``accuracy_vocabulary``, ``accuracy_labels``, ``token_overlap`` or ``ocs``.
        """
        return series_of(self.rows, measure)

    def pairwise(
        self,
        arm: str,
        measure: PairMeasure = "token_overlap",
        *,
        model: str | None = None,
        shots: int | None = None,
        seeds: tuple[int, ...] | None = None,
        epochs: tuple[int, ...] | None = None,
    ) -> CheckpointPairs:
        """Compare every two checkpoints of an arm's finetuning with each other (GD and GD, Shen et al. §5.2).

        Args:
            arm: The arm.
            measure: ``token_overlap`` or ``ocs``.
            model: The model; by default the first.
            shots: Demonstrations; by default the most there are.
            seeds: Draws of demonstrations; by default the first alone. Several compare runs with each other.
            epochs: Which epochs; by default all that were evaluated.

        Raises:
            UserError: If nothing was kept of such checkpoints.
        """
        norm = self.config.overlap_norm
        return compare_checkpoints(
            self.rows, arm, measure, norm, model=model, shots=shots, seeds=seeds, epochs=epochs
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per model, shots, draw, arm, drawn layer, learning rate and epoch."""
        import pandas

        return pandas.DataFrame(row.values() for row in self.rows)

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        pairs = [self.pairwise(arm, measure) for arm in self.kept_arms for measure in _MEASURES]
        return {
            "top_k": self.config.top_k,
            "overlap_norm": self.config.overlap_norm,
            "prompts": {prompt.model: prompt.to_dict() for prompt in self.prompts},
            "rows": [row.values() for row in self.rows],
            "checkpoint_pairs": [pair.to_dict() for pair in pairs],
        }

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.outputs_table import outputs_text

        return outputs_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def plot(self, shots: int | None = None, model: str | None = None) -> Figure:
        """Draw accuracy, token overlap and OCS over epochs (Shen et al. Figs. 5 and 11–22).

        Args:
            shots: Demonstrations; by default the most there are.
            model: The model; by default the first.
        """
        from ...reports.outputs_figures import epochs_figure

        return epochs_figure(self, shots, model)

    def plot_shots(self) -> Figure:
        """Draw accuracy after the last epoch against the number of demonstrations."""
        from ...reports.outputs_figures import shots_figure

        return shots_figure(self)

    def plot_models(self) -> Figure:
        """Draw accuracy, token overlap and OCS after the last epoch by model (Shen et al. Fig. 23)."""
        from ...reports.outputs_figures import models_figure

        return models_figure(self)

    def plot_pairs(self, arm: str | None = None, measure: PairMeasure = "token_overlap") -> Figure:
        """Draw how alike every two checkpoints of an arm answer.

        Args:
            arm: The arm; by default the first.
            measure: ``token_overlap`` or ``ocs``.
        """
        from ...reports.outputs_figures import pairs_figure

        return pairs_figure(self, self.kept_arms[0] if arm is None else arm, measure)

    @property
    def kept_arms(self) -> tuple[str, ...]:
        """Return the arms of which `pairwise` finds something without further arguments."""
        first = self.rows[0].model, max(self.config.shots), self.rows[0].seed
        kept = [row for row in self.rows if row.epoch is not None and row.top is not None]
        return tuple(dict.fromkeys(row.arm for row in kept if (row.model, row.shots, row.seed) == first))


_MEASURES: tuple[PairMeasure, ...] = ("token_overlap", "ocs")


def outputs(
    config: OutputsConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> OutputsStudy:
    """Compare the answers of finetuned models, without demonstrations, with those in context (Shen et al. §5).

    Accuracy over the vocabulary and over the label set, and how alike the most probable tokens are, over arms,
    learning rates, epochs and numbers of demonstrations. Of every distribution the top K tokens are kept.

    Args:
        config: Everything about the study; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        options: Fields of `OutputsConfig`, such as ``shots=(4, 8)`` or ``learning_rates=(1e-3, 1e-2)``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    given = dict(options)
    given |= {"model": model} if isinstance(model, str) else {}
    given |= {"task": task} if isinstance(task, str) else {}
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: OutputsConfig = make_config(OutputsConfig, {**base, **given}, "the study of outputs")
    settings.resolved_recipes()
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    start = time.perf_counter()
    with directory as folder:
        run = run_models(settings, model, task, measure_outputs)
        provenance = run.provenance(time.perf_counter() - start)
        study = OutputsStudy(run.config, tuple(run.rows), provenance, run.prompts)
        if folder is not None:
            write_study(
                folder,
                config=study.config,
                results=study.results(),
                table=study.table(),
                frames={"outputs": study.to_pandas()},
                figures=_figures(study),
                provenance=provenance,
            )
    return study


def _figures(study: OutputsStudy) -> dict[str, Figure]:
    several = len(study.config.shots) > 1
    figures = {
        f"epochs-{shots}shots" if several else "epochs": study.plot(shots) for shots in study.config.shots
    }
    if several:
        figures["shots"] = study.plot_shots()
    if len(study.config.model_names) > 1:
        figures["models"] = study.plot_models()
    # On the first draw every rate of an arm may have diverged.
    if study.kept_arms:
        figures["pairs"] = study.plot_pairs()
    return figures
