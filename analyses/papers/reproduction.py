"""One experiment of a paper, run: its numbers beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...errors import UserError, shown
from ...study.finding import Finding
from ...study.parts import FOLDER as PARTS
from ...study.plain_values import plain
from ...study.study import Study
from ..context import Context, Measured
from ..public_settings import without_secrets
from .catalogue import only_experiment
from .declaration import SCALES, Experiment, Published, Scale
from .footnotes import footnotes_of
from .kinds import configuration, readable
from .library import Request, StudyLibrary
from .measured import Measured as Number
from .overrides import plain_overrides
from .reproduction_config import ReproductionConfig
from .scales import Resolved, resolve
from .views import measured_of


class Reproduction(Study):
    """An experiment of a paper with its studies."""

    @property
    def experiment(self) -> Experiment:
        """The declaration."""
        return self.config.experiment

    @property
    def studies(self) -> Mapping[str, Any]:
        """What each part measured, by its label; comparisons by the recipe's name."""
        return {label: readable(study) for label, study in self.parts.items()}

    @property
    def measured(self) -> tuple[Number, ...]:
        """Every number of the table."""
        frame = self.tables["numbers"][["row", "column", "value", "std", "draws"]]
        return tuple(
            Number(row, column, float(value), float(std), int(draws))
            for row, column, value, std, draws in frame.itertuples(index=False)
        )

    def published(self, row: str, column: str) -> Published | None:
        """Return what the paper gives in one place, if anything."""
        places = {(number.row, number.column): number for number in self.experiment.published}
        return places.get((row, column))


def measure_reproduction(config: ReproductionConfig, context: Context) -> Measured:
    """Run the studies of an experiment that are not there yet, and lay their numbers out.

    Args:
        config: Which experiment, and at which scale.
        context: An experiment of one's own, and studies that were run already.

    Raises:
        UserError: If there is no such experiment, or it cannot be run as asked.
    """
    experiment = (
        context.given.get("experiment") or config.experiment or only_experiment(config.paper, config.name)
    )
    wanted = requests_of(experiment, config.scale, config.overrides)
    for line in announcement(experiment, config.scale, wanted):
        context.say(line)
    library = context.given.get("library") or StudyLibrary(shared_studies(context.folder))
    parts = library.of({label: request for label, (_, request) in wanted.items()})
    numbers = measured_of(experiment, {label: readable(study) for label, study in parts.items()})
    resolved = resolved_config(
        experiment, config.scale, config.overrides, {k: v for k, (v, _) in wanted.items()}
    )
    return Measured(
        resolved,
        {
            "numbers": [_number(experiment, entry) for entry in numbers],
            "parts": [
                {
                    "part": label,
                    "study": request.key,
                    "shown_as": _shown_as(label, config.scale, resolved.settings),
                }
                for label, (_, request) in wanted.items()
            ],
            "footnotes": footnotes_of(experiment, config.scale),
            "facts": _facts(
                experiment, config.scale, resolved.overrides, [part for part, _ in wanted.values()]
            ),
        },
        tuple(
            Finding(
                f"{entry.row}, {entry.column}",
                f"{entry.row}, {entry.column}: {entry.value:.4g}",
                value=entry.value,
                basis=f"mean over {entry.draws}",
            )
            for entry in numbers
        ),
        parts=parts,
        provenance={"studies": {label: dict(study.provenance) for label, study in parts.items()}},
    )


def _number(experiment: Experiment, entry: Number) -> dict[str, Any]:
    found = next(
        (each for each in experiment.published if (each.row, each.column) == (entry.row, entry.column)), None
    )
    return {
        **asdict(entry),
        "published": None if found is None else found.value,
        "published_high": None if found is None else found.high,
        "source": None if found is None else found.source,
        "panel": next((row.panel for row in experiment.rows if row.label == entry.row), None),
    }


def _facts(
    experiment: Experiment, scale: Scale, overrides: Mapping[str, Any], parts: list[Resolved]
) -> list[dict[str, str]]:
    told = {
        "experiment": f"{experiment.paper} {experiment.name}: {experiment.title}",
        "scale": scale,
        "what stands for what": "; ".join(dict.fromkeys(line for part in parts for line in part.mapped)),
        "cut or changed": "; ".join(dict.fromkeys(line for part in parts for line in part.cuts)),
        "set": "; ".join(f"{key} = {value}" for key, value in overrides.items()),
    }
    return [{"name": name, "text": text} for name, text in told.items() if text]


def _shown_as(label: str, scale: Scale, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a figure calls a part: the paper's name, and below it what stands for it at this scale."""
    if scale == "paper":
        return label
    keys = [
        key
        for key in ("task", "model", "revision")
        if len({str(values.get(key)) for values in settings.values()}) > 1
    ]
    inner = "@".join(str(settings[label][key]) for key in keys if settings[label].get(key) is not None)
    return f"{label}\n({inner})" if inner else label


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
        overrides=plain_overrides(overrides),
        experiment=_plain(experiment),
        settings={
            label: plain(without_secrets(configuration(experiment.kind, part.settings)).model_dump())
            for label, part in resolved.items()
        },
    )


def _plain(experiment: Experiment) -> Experiment:
    """Return an experiment whose settings are as YAML gives them back."""
    kind = TypeAdapter(Experiment)
    return kind.validate_python(plain(without_secrets(kind.dump_python(experiment, mode="json"))))


def shared_studies(folder: Path | None) -> Path | None:
    """Return the folder of studies beside a run directory, if there is one to share.

    Args:
        folder: The run directory.
    """
    shared = None if folder is None else folder.parent / PARTS
    return shared if shared is not None and shared.is_dir() else None


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
