"""The papers' experiments and their claims as analyses: what they make, and how they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from .claims_config import ClaimsConfig
from .declaration import Experiment, Scale
from .reproduction_config import ReproductionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .library import StudyLibrary
    from .reproduction import Reproduction

NUMBERS = Table(
    "numbers",
    "one number of the table or figure, with what the paper gives in its place",
    (
        Column("row", "text", "the row of the table"),
        Column("column", "text", "the column"),
        Column(
            "value", "number", "mean over draws of demonstrations (and layers drawn), or the number itself"
        ),
        Column("std", "number", "standard deviation over those (ddof 1); missing of a single one"),
        Column("draws", "integer", "how many"),
        Column("published", "number", "what the paper gives"),
        Column("published_high", "number", "the upper end, where a range was read off"),
        Column("source", "text", "whether it stands in the text or was read off a figure"),
        Column("panel", "text", "the panel of the figure, with its unit, where rows have one"),
    ),
)
PARTS = Table(
    "parts",
    "one study of the experiment",
    (
        Column("part", "text", "what the paper calls it: a dataset or a model"),
        Column("study", "text", "the id of its study"),
        Column("shown_as", "text", "what figures call it, with what stands for it at this scale"),
    ),
)
FOOTNOTES = Table(
    "footnotes",
    "one thing that has to be known beside the numbers",
    (Column("key", "text", "its name, such as R14 or D10"), Column("text", "text", "what there is to know")),
)
JUDGED = Table(
    "claims",
    "one empirical sentence of a paper, measured and judged",
    (
        Column("paper", "text", "which paper"),
        Column("section", "text", "where it stands"),
        Column("quote", "text", "the sentence, shortened"),
        Column("measured_as", "text", "what is measured, in words"),
        Column("experiments", "text", "the experiments whose studies it is measured from, between spaces"),
        Column("effect", "text", "the name of the effect"),
        Column("unit", "text", "the effect's unit"),
        Column("above", "number", "the effect must be larger for the claim to hold"),
        Column("below", "number", "the effect must be smaller"),
        Column("criterion", "text", "both bounds, to be read"),
        Column("value", "number", "the effect", "as in unit"),
        Column("low", "number", "lower end of its 95% interval", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column("basis", "text", "what the interval is over; 'not run' where an experiment is missing"),
        Column("verdict", "text", "holds, fails or undecided"),
    ),
)

REPRODUCE = register(
    Analysis(
        name="reproduce",
        summary="Run a table or figure of one of the two papers and show its numbers beside the published ones.",
        config=ReproductionConfig,
        measure=f"{__package__}.reproduction:measure_reproduction",
        tables=(NUMBERS, PARTS, FOOTNOTES),
        figures="iclprobe.reports.papers_figures:reproduction_figures",
        sheet="iclprobe.reports.papers_table:reproduction_sheet",
        needs="nothing",
        in_memory=("experiment", "library"),
        study=f"{__package__}.reproduction:Reproduction",
    )
)
CLAIMS = register(
    Analysis(
        name="claims",
        summary="Judge every empirical sentence of both papers by experiments that were run.",
        config=ClaimsConfig,
        measure=f"{__package__}.claims:measure_claims",
        tables=(JUDGED,),
        figures={"claims": "iclprobe.reports.papers_claims:claims_figure"},
        sheet="iclprobe.reports.papers_claims:claims_sheet",
        needs="nothing",
        in_memory=("reproductions",),
    )
)


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
        out: Write a run directory there; its studies lie in ``studies/`` within, or beside where that is there.
        overwrite: Replace a finished run directory.
        library: Studies that were run already, for experiments that share them.
        say: Told what is about to happen.

    Raises:
        UserError: If there is no such experiment, or it cannot be run as asked.
    """
    from ..runner import run_analysis
    from .catalogue import only_experiment
    from .reproduction import require_scale

    require_scale(scale)
    experiment = paper if isinstance(paper, Experiment) else only_experiment(paper, name)
    study: Any = run_analysis(
        REPRODUCE,
        paper=experiment.paper,
        name=experiment.name,
        scale=scale,
        overrides=dict(overrides or {}),
        experiment=experiment,
        library=library,
        out=out,
        overwrite=overwrite,
        say=say,
    )
    return study
