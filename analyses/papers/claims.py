"""Every empirical sentence of both papers, measured on the model at hand: it holds, fails, or is undecided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...settings import Settings
from ..provenance import surroundings
from ..run_directory import run_directory
from ..study_files import write_study
from .claim_list import CLAIM_LIST
from .declaration import Claim, Scale
from .effects import Criterion, Effect, Verdict
from .overrides import plain_overrides
from .reproduction import Reproduction

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class ClaimsConfig(Settings):
    """What the claims were judged by.

    Attributes:
        scale: ``pocket`` or ``paper``.
        overrides: What the user changed.
        experiments: The experiments that were there.
    """

    scale: Scale
    overrides: dict[str, Any] = Field(default={})
    experiments: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured.

    Attributes:
        claim: The claim.
        effect: The measured effect; None where an experiment that it needs was not run.
        verdict: What it makes of the claim on the model at hand.
    """

    claim: Claim
    effect: Effect | None
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class ClaimsStudy:
    """All claims, judged.

    Attributes:
        config: What they were judged by.
        judged: One entry a claim.
        models: The models at hand.
    """

    config: ClaimsConfig
    judged: tuple[Judged, ...]
    models: tuple[str, ...]

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a claim."""
        import pandas

        return pandas.DataFrame(
            {
                "paper": entry.claim.paper,
                "section": entry.claim.section,
                "quote": entry.claim.quote,
                "measured_as": entry.claim.measured_as,
                "experiments": " ".join(entry.claim.experiments),
                "unit": entry.claim.unit,
                "criterion": str(criterion_of(entry.claim)),
                "value": math.nan if entry.effect is None else entry.effect.value,
                "low": math.nan if entry.effect is None else entry.effect.low,
                "high": math.nan if entry.effect is None else entry.effect.high,
                "basis": "not run" if entry.effect is None else entry.effect.basis,
                "verdict": entry.verdict,
            }
            for entry in self.judged
        )

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "scale": self.config.scale,
            "overrides": dict(self.config.overrides),
            "models": list(self.models),
            "claims": [
                {
                    **asdict(entry.claim),
                    "criterion": str(criterion_of(entry.claim)),
                    "effect": None if entry.effect is None else asdict(entry.effect),
                    "verdict": entry.verdict,
                }
                for entry in self.judged
            ],
        }

    def table(self) -> str:
        """Return the claims as text."""
        from ...reports.papers_claims import claims_text

        return claims_text(self)

    def __str__(self) -> str:
        """Return the claims as text."""
        return self.table()

    def plot(self) -> Figure:
        """Draw the effect of each claim with its interval beside its criterion."""
        from ...reports.papers_claims import claims_figure

        return claims_figure(self)


def criterion_of(claim: Claim) -> Criterion:
    """Return where the effect of a claim must lie."""
    return Criterion(
        -math.inf if claim.above is None else claim.above, math.inf if claim.below is None else claim.below
    )


def judge(claim: Claim, reproductions: Mapping[str, Reproduction]) -> Judged:
    """Measure the effect of a claim and judge it.

    Args:
        claim: The claim.
        reproductions: Experiments that were run, by their key.
    """
    from .effect_names import EFFECTS

    if any(key not in reproductions for key in claim.experiments):
        return Judged(claim, None, "undecided")
    studies = {
        f"{key} {label}": study
        for key in claim.experiments
        for label, study in reproductions[key].studies.items()
    }
    effect = EFFECTS[claim.effect](studies, *claim.arguments)
    return Judged(claim, effect, criterion_of(claim).judge(effect))


def study_claims(
    reproductions: Mapping[str, Reproduction], scale: Scale, overrides: Mapping[str, Any] | None = None
) -> ClaimsStudy:
    """Judge every claim by the experiments that were run.

    Args:
        reproductions: Experiments, by their key.
        scale: At which scale they ran.
        overrides: Settings that were changed for all of them.
    """
    models = dict.fromkeys(
        str(resolved.settings["model"])
        for result in reproductions.values()
        for resolved in result.resolved.values()
        if "model" in resolved.settings
    )
    return ClaimsStudy(
        ClaimsConfig(
            scale=scale, overrides=plain_overrides(overrides or {}), experiments=tuple(reproductions)
        ),
        tuple(judge(claim, reproductions) for claim in CLAIM_LIST),
        tuple(models),
    )


def save_claims(study: ClaimsStudy, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the run directory of the claims, whole or not at all.

    Args:
        study: The claims, judged.
        path: The run directory.
        overwrite: Replace a finished one.
    """
    with run_directory(Path(path), overwrite=overwrite) as folder:
        write_study(
            folder,
            config=study.config,
            results=study.results(),
            table=study.table(),
            frames={"claims": study.to_pandas()},
            figures={"figure": study.plot()},
            provenance=surroundings("cpu"),
        )
    return Path(path)
