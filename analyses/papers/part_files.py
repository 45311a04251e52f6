"""What the studies of an experiment leave in its run directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...study.json_values import rows_of
from ...study.study import Study

if TYPE_CHECKING:
    import pandas


def studies_of(study: Any) -> dict[str, Any]:
    """Return the studies in one part: one, or one for each recipe.

    Args:
        study: What the part measured.
    """
    return dict(study) if isinstance(study, Mapping) else {"": study}


def study_results(study: Any) -> Any:
    """Return the numbers of a part as JSON can hold them; tables with a row a query are left out, for their size."""
    found = {name: _numbers(one) for name, one in studies_of(study).items()}
    return found if isinstance(study, Mapping) else found[""]


def _numbers(study: Any) -> Any:
    if not isinstance(study, Study):
        return study.results()
    return {name: rows_of(frame) for name, frame in study.tables.items() if "query" not in frame.columns}


def study_provenance(study: Any) -> Any:
    """Return where the results of a part came from."""
    found = {name: dict(one.provenance) for name, one in studies_of(study).items()}
    return found if isinstance(study, Mapping) else found[""]


def study_frames(studies: Mapping[str, Any]) -> dict[str, pandas.DataFrame]:
    """Return every measurement of all parts as one data frame, under its name."""
    import pandas

    parts = []
    for label, study in studies.items():
        for name, one in studies_of(study).items():
            frame = one.to_pandas()
            frame.insert(0, "part", label)
            if name and "recipe" not in frame:
                frame.insert(1, "recipe", name)
            parts.append(frame)
    return {"measurements": pandas.concat(parts, ignore_index=True)} if parts else {}
