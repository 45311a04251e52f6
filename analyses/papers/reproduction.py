"""One experiment of a paper, run: its numbers beside the published ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...errors import UserError, shown
from ...settings import Settings
from ..plain_values import plain
from ..provenance import surroundings
from ..public_settings import without_secrets
from ..run_directory import run_directory
from ..study_files import write_study
from .catalogue import find_experiments
from .declaration import PAPERS, SCALES, Experiment, Published, Scale
from .kinds import configuration
from .library import Request, StudyLibrary
from .measured import Measured
from .overrides import plain_overrides
from .part_files import study_frames, study_provenance, study_results
from .scales import Resolved, resolve
from .views import measured_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class ReproductionConfig(Settings):
    """What an experiment resolved to.

    Attributes:
        paper: Which paper.
        name: Which table or figure.
        scale: ``pocket`` or ``paper``.
        kind: The analysis.
        overrides: What the user changed.
        parts: The resolved configuration of each part, by its label.
    """

    paper: str
    name: str
    scale: Scale
    kind: str
    overrides: dict[str, Any] = Field(default={})
    parts: dict[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Reproduction:
    """An experiment of a paper with its studies.

    Attributes:
        experiment: The declaration.
        scale: At which scale it ran.
        overrides: What the user changed.
        resolved: The settings of each part, by its label.
        studies: What each part measured.
        seconds: How long it took, studies that were there already not counted.
    """

    experiment: Experiment
    scale: Scale
    overrides: Mapping[str, Any]
    resolved: Mapping[str, Resolved]
    studies: Mapping[str, Any]
    seconds: float

    @cached_property
    def measured(self) -> tuple[Measured, ...]:
        """Every number of the table."""
        return measured_of(self.experiment, self.studies)

    @property
    def config(self) -> ReproductionConfig:
        """What it resolved to."""
        return resolved_config(self.experiment, self.scale, self.overrides, self.resolved)

    @property
    def mapped(self) -> tuple[str, ...]:
        """What stands for what at this scale."""
        return tuple(dict.fromkeys(line for part in self.resolved.values() for line in part.mapped))

    @property
    def cuts(self) -> tuple[str, ...]:
        """What is less than in the paper at this scale."""
        return tuple(dict.fromkeys(line for part in self.resolved.values() for line in part.cuts))

    def shown_as(self, label: str) -> str:
        """Return what a figure calls a part: the paper's name, and below it what stands for it at this scale."""
        settings = {name: resolved.settings for name, resolved in self.resolved.items()}
        if self.scale == "paper" or label not in settings:
            return label
        keys = [
            key
            for key in ("task", "model", "revision")
            if len({str(values.get(key)) for values in settings.values()}) > 1
        ]
        inner = "@".join(str(settings[label][key]) for key in keys if settings[label].get(key) is not None)
        return f"{label}\n({inner})" if inner else label

    def published(self, row: str, column: str) -> Published | None:
        """Return what the paper gives in one place, if anything."""
        places = {(number.row, number.column): number for number in self.experiment.published}
        return places.get((row, column))

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a number: measured, its spread, and what was published."""
        import pandas

        rows = []
        for entry in self.measured:
            published = self.published(entry.row, entry.column)
            rows.append(
                {
                    **asdict(entry),
                    "published": math.nan if published is None else published.value,
                    "published_high": math.nan
                    if published is None or published.high is None
                    else published.high,
                    "source": None if published is None else published.source,
                }
            )
        return pandas.DataFrame(rows)

    def table(self) -> str:
        """Return the table as text, with the published numbers, cuts and footnotes."""
        from ...reports.papers_table import reproduction_text

        return reproduction_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def figures(self) -> dict[str, Figure]:
        """Return the figures by name; ``figure`` is the first."""
        from ...reports.papers_figures import reproduction_figures

        return reproduction_figures(self)

    def plot(self) -> Figure:
        """Draw the figure."""
        return self.figures()["figure"]

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "paper": PAPERS[self.experiment.paper],
            "name": self.experiment.name,
            "title": self.experiment.title,
            "scale": self.scale,
            "overrides": plain_overrides(self.overrides),
            "mapped": list(self.mapped),
            "cuts": list(self.cuts),
            "footnotes": list(self.experiment.footnotes),
            "numbers": [
                {
                    **asdict(entry),
                    "published": None if published is None else asdict(published),
                }
                for entry in self.measured
                for published in [self.published(entry.row, entry.column)]
            ],
            "published": [asdict(number) for number in self.experiment.published],
            "studies": {label: study_results(study) for label, study in self.studies.items()},
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run directory, whole or not at all."""
        with run_directory(Path(path), overwrite=overwrite) as folder:
            write_study(
                folder,
                config=self.config,
                results=self.results(),
                table=self.table(),
                frames={"numbers": self.to_pandas(), **study_frames(self.studies)},
                figures=self.figures(),
                provenance={
                    **surroundings("cpu", self.seconds),
                    "studies": {label: study_provenance(study) for label, study in self.studies.items()},
                },
            )
        return Path(path)


def resolved_config(
    experiment: Experiment, scale: Scale, overrides: Mapping[str, Any], resolved: Mapping[str, Resolved]
) -> ReproductionConfig:
    """Return what an experiment resolves to.

    Args:
        experiment: The experiment.
        scale: At which scale.
        overrides: What the user changed.
        resolved: The settings of each part, by its label.
    """
    return ReproductionConfig(
        paper=experiment.paper,
        name=experiment.name,
        scale=scale,
        kind=experiment.kind,
        overrides=plain_overrides(overrides),
        parts={
            label: plain(without_secrets(configuration(experiment.kind, part.settings)).model_dump())
            for label, part in resolved.items()
        },
    )


def requests_of(
    experiment: Experiment, scale: Scale, overrides: Mapping[str, Any] | None = None
) -> dict[str, tuple[Resolved, Request]]:
    """Return what each part of an experiment wants run, by its label.

    Args:
        experiment: The experiment.
        scale: At which scale.
        overrides: Settings in place of the declared ones, for every part.

    Raises:
        UserError: If an override is unknown or impossible.
    """
    result = {}
    for part in experiment.parts:
        resolved = resolve(experiment, part, scale)
        if overrides:
            resolved = Resolved({**resolved.settings, **overrides}, resolved.mapped, resolved.cuts)
        configuration(experiment.kind, resolved.settings)
        result[part.label] = (resolved, Request(experiment.kind, resolved.settings))
    return result


def reproduce(
    paper: str | Experiment,
    name: str | None = None,
    *,
    scale: Scale = "pocket",
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    library: StudyLibrary | None = None,
    say: Callable[[str], None] | None = None,
) -> Reproduction:
    """Run one table or figure of a paper.

    Args:
        paper: ``shen2024`` or ``barnatan``, or an experiment of one's own.
        name: The table or figure: ``fig4``, ``table2``.
        scale: ``pocket`` runs on the embedded model and tasks, ``paper`` on the paper's.
        overrides: Settings of the analysis in place of the declared ones, such as ``{"limit": 32}``.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        library: Studies that were run already, for experiments that share them.
        say: Told what is about to happen.

    Raises:
        UserError: If there is no such experiment, or it cannot be run as asked.
    """
    experiment = paper if isinstance(paper, Experiment) else _only(find_experiments(paper, name))
    require_scale(scale)
    say = say or (lambda line: None)
    wanted = requests_of(experiment, scale, overrides)
    for line in announcement(experiment, scale, wanted):
        say(line)
    library = StudyLibrary() if library is None else library
    start = time.perf_counter()
    result = Reproduction(
        experiment,
        scale,
        without_secrets(dict(overrides or {})),
        {label: without_secrets(resolved) for label, (resolved, _) in wanted.items()},
        {label: library.get(request) for label, (_, request) in wanted.items()},
        time.perf_counter() - start,
    )
    if out is not None:
        result.save(out, overwrite=overwrite)
    return result


def announcement(
    experiment: Experiment, scale: Scale, wanted: Mapping[str, tuple[Resolved, Request]]
) -> list[str]:
    """Return what is said before an experiment runs: what it needs, or what stands for what and what is cut."""
    lines = [f"{experiment.paper} {experiment.name}: {experiment.title}"]
    if scale == "paper":
        from .requirements import requirements_of

        lines.append(requirements_of(experiment, [resolved for resolved, _ in wanted.values()]).describe())
    for name in ("mapped", "cuts"):
        found = dict.fromkeys(line for resolved, _ in wanted.values() for line in getattr(resolved, name))
        if found:
            lines.append(f"  {'stands for' if name == 'mapped' else 'cut or changed'}: {'; '.join(found)}")
    return lines


def require_scale(scale: str) -> None:
    """Refuse a scale that there is not.

    Raises:
        UserError: It names those there are.
    """
    if scale not in SCALES:
        raise UserError(f"no scale {shown(scale)}: there are {' and '.join(SCALES)}")


def _only(found: tuple[Experiment, ...]) -> Experiment:
    if len(found) != 1:
        raise UserError(f"name one experiment: {', '.join(experiment.name for experiment in found)}")
    return found[0]
