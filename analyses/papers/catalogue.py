"""All experiments of both papers, by paper and name."""

from __future__ import annotations

from ...errors import UserError, shown
from . import barnatan, shen2024
from .declaration import PAPERS, Experiment

CLAIMS = "claims"
"""The name under which every empirical sentence of both papers is measured."""

EXPERIMENTS: tuple[Experiment, ...] = (*shen2024.EXPERIMENTS, *barnatan.EXPERIMENTS)


def find_experiments(paper: str | None = None, name: str | None = None) -> tuple[Experiment, ...]:
    """Return all experiments, those of one paper, or one of them.

    Args:
        paper: ``shen2024`` or ``barnatan``.
        name: A table or figure of that paper.

    Raises:
        UserError: If there is no such paper or experiment; it lists those there are.
    """
    if paper is None:
        return EXPERIMENTS
    if paper not in PAPERS:
        raise UserError(
            f"no paper {shown(paper)}: there are {', '.join(PAPERS)}, and {shown(CLAIMS)} for both"
        )
    found = tuple(experiment for experiment in EXPERIMENTS if experiment.paper == paper)
    if name is None:
        return found
    named = tuple(experiment for experiment in found if experiment.name == name)
    if not named:
        names = ", ".join(experiment.name for experiment in found)
        raise UserError(f"paper {shown(paper)} has no experiment {shown(name)}: there are {names}")
    return named


def only_experiment(paper: str, name: str | None) -> Experiment:
    """Return one experiment.

    Raises:
        UserError: If there is none of that name, or several.
    """
    found = find_experiments(paper, name)
    if len(found) != 1:
        raise UserError(f"name one experiment: {', '.join(experiment.name for experiment in found)}")
    return found[0]
