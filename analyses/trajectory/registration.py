"""The analysis along finetuning: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...study.analysis import Analysis, register
from .config import TrajectoryConfig
from .tables import TRAJECTORY_TABLES

if TYPE_CHECKING:
    from ...study.study import Study

TRAJECTORY = register(
    Analysis(
        name="trajectory",
        summary="Compare along finetuning: what is alike at the step and learning rate that is nearest to ICL?",
        config=TrajectoryConfig,
        measure=f"{__package__}.measurement:measure_trajectory",
        tables=TRAJECTORY_TABLES,
        figures={"trajectory": "iclprobe.reports.trajectory:trajectory_figure"},
        sheet="iclprobe.reports.trajectory:trajectory_sheet",
        check=f"{__package__}.measurement:check_trajectory",
    )
)


def trajectory(config: TrajectoryConfig | None = None, **options: Any) -> Study:
    """Compare the model with in-context learning at many steps of finetuning, at several learning rates.

    Two ways of learning are alike or not as models that answer equally well: at the step and rate that is nearest to
    ICL in accuracy, and in its distribution over the labels, with the distance that is left.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `TrajectoryConfig`, such as ``learning_rate=(1e-3, 1e-2)`` or ``steps=(1, 4, 16)``, a
            ``model`` or ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(TRAJECTORY, config, **options)
