"""Does a model change inside the same way in context as when finetuned? The three settings, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.loading import LanguageModel
from ...settings import make_config
from ...study.run_directory import run_directory
from ...tasks.task import Task
from ..configuration import CompareConfig
from .draw import Draw
from .files import write_comparison
from .measures import Intervals, Measure, MeasureOverDraws, measures_of, over_draws
from .run import check_comparisons, run_comparisons

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Comparison:
    """In-context learning and finetuning side by side, for one draw of demonstrations or several.

    Attributes:
        config: What was asked for.
        draws: One result for each seed.
        provenance: Versions, hashes and devices.
    """

    config: CompareConfig
    draws: tuple[Draw, ...]
    provenance: Mapping[str, Any]

    @cached_property
    def measures(self) -> tuple[tuple[Measure, ...], ...]:
        """Every number of each draw, with its interval over queries."""
        return tuple(measures_of(draw, self.config.agreement, self._intervals) for draw in self.draws)

    @property
    def over_draws(self) -> tuple[MeasureOverDraws, ...]:
        """Mean and standard deviation of every number over the draws."""
        return over_draws(list(self.measures))

    def __getitem__(self, name: str) -> float:
        """Return a number by its name in the table, averaged over draws."""
        values = {measure.name: measure.mean for measure in self.over_draws}
        if name not in values:
            raise KeyError(f"no measure {name!r}: there are {', '.join(values)}")
        return values[name]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a data frame, one row a measure (and draw)."""
        from ...reports.comparison_table import comparison_frame

        return comparison_frame(self.config, self.draws)

    def table(self) -> str:
        """Return the table as text."""
        from ...reports.comparison_table import comparison_text

        return comparison_text(self.config, self.draws)

    def plot(self) -> Figure:
        """Draw every measure by layer."""
        from ...reports.comparison_figures import figure_title, layer_profile_figure

        return layer_profile_figure(self.draws, self._intervals, title=figure_title(self.config))

    def plot_heads(self) -> Figure:
        """Draw SimAM by layer and head."""
        from ...reports.comparison_figures import figure_title, head_heatmap_figure

        return head_heatmap_figure(self.draws, title=figure_title(self.config))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run directory, whole or not at all."""
        with run_directory(Path(path), overwrite=overwrite) as folder:
            write_comparison(folder, self.config, self.draws, self.provenance)
        return Path(path)

    @property
    def _intervals(self) -> Intervals:
        return Intervals(self.config.resamples, self.config.level)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def _repr_html_(self) -> str:
        from ...reports.comparison_table import comparison_html

        return comparison_html(self.config, self.draws)


def compare(
    config: CompareConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Comparison:
    """Run a task zero-shot, in context and finetuned on the same demonstrations, and compare the three.

    Args:
        config: Everything about the comparison; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        say: Told what is about to happen: the estimate, and where results went.
        options: Fields of `CompareConfig`, such as ``shots=4`` or ``seeds=(0, 1, 2)``.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    settings = dict(options)
    if isinstance(model, str):
        settings["model"] = model
    if isinstance(task, str):
        settings["task"] = task
    base = config.model_dump(exclude_unset=True) if config else {}
    resolved: CompareConfig = make_config(CompareConfig, {**base, **settings}, "the comparison")
    check_comparisons([resolved])
    directory = nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite)
    with directory as folder:
        run = run_comparisons([resolved], model, task, folders=[folder], say=say or (lambda line: None))
        result = Comparison(run.configs[0], run.draws[0], run.provenance)
        if folder is not None:
            write_comparison(folder, result.config, result.draws, result.provenance)
    return result
