"""Does it matter in which order demonstrations come: shown in context, or finetuned on?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.loading import LanguageModel
from ...settings import make_config
from ...study.run_directory import run_directory
from ...tasks.task import Task
from ..prompt import PromptView
from ..study_files import write_study
from .order_config import OrderConfig
from .order_measurement import OrderRow, measure_orders
from .run import run_models
from .series import Series, series_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel

__all__ = ["OrderRow", "OrderStudy", "order"]


@dataclass(frozen=True, eq=False)
class OrderStudy:
    """Order sensitivity of in-context learning and of finetuning.

    Attributes:
        config: What was asked for.
        rows: One entry a model, draw, arm, drawn layer, learning rate and epoch; in-context learning first.
        provenance: Versions, models, data, device and date.
        prompts: What each model was sent for its first query.
    """

    config: OrderConfig
    rows: tuple[OrderRow, ...]
    provenance: Mapping[str, Any]
    prompts: tuple[PromptView, ...] = ()

    def series(self, measure: str = "sensitivity") -> tuple[Series, ...]:
        """Return a measure over epochs for every model, arm and learning rate.

        Args:
            measure: ``sensitivity``, ``accuracy_labels`` or ``accuracy_vocabulary``.
        """
        return series_of(self.rows, measure)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per model, draw, arm, drawn layer, learning rate and epoch."""
        import pandas

        return pandas.DataFrame(asdict(row) for row in self.rows)

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "aggregate": self.config.aggregate,
            "ddof": self.config.ddof,
            "top_k": self.config.top_k,
            "prompts": {prompt.model: prompt.to_dict() for prompt in self.prompts},
            "rows": [asdict(row) for row in self.rows],
        }

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.order_table import order_text

        return order_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def plot(self) -> Figure:
        """Draw the sensitivity of every arm beside in-context learning (Shen et al. Fig. 4)."""
        from ...reports.order_figures import sensitivity_figure

        return sensitivity_figure(self)

    def plot_epochs(self) -> Figure:
        """Draw sensitivity over epochs, one panel an arm and one line a learning rate (Shen et al. Figs. 6–8)."""
        from ...reports.order_figures import epochs_figure

        return epochs_figure(self)


def order(
    config: OrderConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> OrderStudy:
    """Measure how much answers depend on the order of demonstrations (Shen et al. section 4, appendix A).

    The same orders of the same demonstrations are shown in context and finetuned on, and the distribution of the
    next token is compared over them. Full-batch gradient descent takes the demonstrations all at once: its
    sensitivity is rounding, unless the learning rate is so large that training amplifies rounding. Moments are
    kept, never all distributions: two fp64 numbers a query and token for each epoch evaluated.

    Args:
        config: Everything about the study; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        options: Fields of `OrderConfig`, such as ``orders=10`` or ``arms=("shen", "shen_sgd")``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    given = dict(options)
    given |= {"model": model} if isinstance(model, str) else {}
    given |= {"task": task} if isinstance(task, str) else {}
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: OrderConfig = make_config(OrderConfig, {**base, **given}, "the study of orders")
    settings.resolved_recipes()
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    start = time.perf_counter()
    with directory as folder:
        run = run_models(settings, model, task, measure_orders)
        provenance = run.provenance(time.perf_counter() - start)
        study = OrderStudy(run.config, tuple(run.rows), provenance, run.prompts)
        if folder is not None:
            write_study(
                folder,
                config=study.config,
                results=study.results(),
                table=study.table(),
                frames={"order": study.to_pandas()},
                figures={"sensitivity": study.plot(), "epochs": study.plot_epochs()},
                provenance=provenance,
            )
    return study
