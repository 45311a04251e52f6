"""How the analysis of an experiment is asked for, and its study read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...settings import Settings, make_config
from ...study.analysis import find_analysis
from ...study.parts import study_id
from ...study.study import Study
from .declaration import Kind


def configuration(kind: Kind, settings: Mapping[str, Any]) -> Settings:
    """Return the configuration that settings resolve to.

    Args:
        kind: The analysis.
        settings: What it is told.

    Raises:
        UserError: If a key is unknown or a value impossible.
    """
    # Nobody looks at the queries of a part of an experiment, of which there are dozens.
    alone = {"keep_rows": 0, "keep_maps": 0} if kind == "compare" else {}
    return make_config(find_analysis(kind).config, {**alone, **settings}, f"the {kind} experiment")


def study_key(kind: Kind, settings: Mapping[str, Any]) -> str:
    """Return the id of the study that settings give: equal ids have equal results.

    Args:
        kind: The analysis.
        settings: What it is told.
    """
    return study_id(kind, configuration(kind, settings))


def run_study(kind: Kind, settings: Mapping[str, Any], out: Path | None = None) -> Study:
    """Run one study.

    Args:
        kind: The analysis.
        settings: What it is told.
        out: Write its run directory there.

    Raises:
        UserError: If something asked for cannot be done.
    """
    from ..runner import run_analysis

    return run_analysis(
        find_analysis(kind), configuration(kind, settings), out=out, page=False, pictures=False
    )


def readable(study: Study) -> Any:
    """Return a study as effects and views read it: comparisons as a mapping from the recipe's name.

    Args:
        study: The study.
    """
    if study.analysis != "compare":
        return study
    comparison: Any = study
    return {recipe: comparison[recipe, shots] for recipe, shots in comparison.cells}
