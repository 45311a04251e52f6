"""Every empirical sentence of both papers, measured on the model at hand: it holds, fails, or is undecided."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...study.finding import Finding
from ...study.loading import load_study
from ...study.run_directory import is_complete
from ..context import Context, Measured
from .claim_list import CLAIM_LIST
from .claims_config import ClaimsConfig
from .declaration import Claim
from .effects import Criterion, Effect, Verdict
from .reproduction import Reproduction


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


def measure_claims(config: ClaimsConfig, context: Context) -> Measured:
    """Judge every claim by the tables of the experiments that were run; nothing is run.

    Args:
        config: Where the experiments are.
        context: Experiments in memory in place of those.
    """
    found = context.given.get("reproductions")
    reproductions: Mapping[str, Reproduction] = experiments_in(config.experiments) if found is None else found
    judged = [judge(claim, reproductions) for claim in CLAIM_LIST]
    models = dict.fromkeys(
        str(settings["model"])
        for each in reproductions.values()
        for settings in each.config.settings.values()
        if "model" in settings
    )
    counts = Counter(entry.verdict for entry in judged)
    facts = {
        "models": ", ".join(models) or "none",
        "scale": config.scale,
        "verdicts": ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("holds", "fails", "undecided")),
    }
    return Measured(
        config.model_copy(update={"judged_by": tuple(reproductions)}),
        {
            "claims": [claim_row(entry) for entry in judged],
            "facts": [{"name": name, "text": text} for name, text in facts.items()],
        },
        tuple(_finding(entry) for entry in judged if entry.effect is not None),
    )


def experiments_in(folder: str | Path) -> dict[str, Reproduction]:
    """Return every experiment that was run in a directory, by its key.

    Args:
        folder: The directory; each experiment has a folder of its own in it.
    """
    found: dict[str, Reproduction] = {}
    for place in sorted(Path(folder).glob("*-*")):
        if place.name.startswith(".") or not is_complete(place):
            continue
        study: Any = load_study(place)
        if study.analysis == "reproduce":
            found[study.experiment.key] = study
    return found


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


def claim_row(entry: Judged) -> dict[str, Any]:
    """Return the row of a claim, see `registration.JUDGED`."""
    claim, effect = entry.claim, entry.effect
    return {
        "paper": claim.paper,
        "section": claim.section,
        "quote": claim.quote,
        "measured_as": claim.measured_as,
        "experiments": " ".join(claim.experiments),
        "effect": claim.effect,
        "unit": claim.unit,
        "above": claim.above,
        "below": claim.below,
        "criterion": str(criterion_of(claim)),
        "value": math.nan if effect is None else effect.value,
        "low": math.nan if effect is None else effect.low,
        "high": math.nan if effect is None else effect.high,
        "basis": "not run" if effect is None else effect.basis,
        "verdict": entry.verdict,
    }


def _finding(entry: Judged) -> Finding:
    claim, effect = entry.claim, entry.effect
    assert effect is not None
    return Finding(
        f"{claim.paper} §{claim.section}: {claim.measured_as}",
        f"“{claim.quote}” {entry.verdict}: {effect.value:.3g} {claim.unit} (holds if {criterion_of(claim)})",
        value=effect.value,
        low=effect.low,
        high=effect.high,
        unit=claim.unit,
        basis=effect.basis,
    )
