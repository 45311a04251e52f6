"""The analysis of outputs: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ..arms.columns import ARM_KEY
from ..prompt_table import PROMPTS
from .config import OutputsConfig
from .study import OutputsStudy

ROWS = Table(
    "rows",
    "one model, number of shots, draw, arm, drawn layer, learning rate and epoch; zero-shot and ICL first",
    (
        *ARM_KEY,
        Column("queries", "integer", "queries asked"),
        Column(
            "accuracy_vocabulary",
            "number",
            "share right over the whole vocabulary; undefined where finetuning diverged",
            "share",
            "Shen et al. section 5.1",
        ),
        Column("accuracy_labels", "number", "share right over the label set", "share"),
        Column(
            "token_overlap",
            "number",
            "share of the top K tokens in common with ICL, mean over queries; of ICL, with itself in other orders "
            "of its demonstrations; undefined without ICL or another order",
            "share",
            "Shen et al. section 5.1",
        ),
        Column("token_overlap_std", "number", "its population standard deviation over queries", "share"),
        Column("ocs", "number", "overlap cosine similarity, likewise", "cosine", "Shen et al. Eq. 6; R12"),
        Column("ocs_std", "number", "its population standard deviation over queries", "cosine"),
        Column(
            "tokens",
            "integer",
            "place of the first query's top tokens in the arrays top_tokens, of which those of the other queries "
            "follow; missing where finetuning diverged",
        ),
    ),
)
PAIRS = Table(
    "pairs",
    "two checkpoints of an arm, of the first model and draw with the most demonstrations",
    (
        Column("arm", "text", "the arm"),
        Column("checkpoint", "text", "one: learning rate and epoch, and the layer where several were drawn"),
        Column("other", "text", "the other"),
        Column(
            "token_overlap",
            "number",
            "share of the top K tokens in common, mean over queries",
            "share",
            "Shen et al. section 5.2",
        ),
        Column("ocs", "number", "overlap cosine similarity, mean over queries", "cosine", "R12"),
    ),
)

OUTPUTS = register(
    Analysis(
        name="outputs",
        summary="Compare what finetuned models answer with what is answered in context (Shen et al. section 5).",
        config=OutputsConfig,
        measure=f"{__package__}.measurement:measure_outputs",
        tables=(ROWS, PAIRS, PROMPTS),
        figures={
            "epochs": "iclprobe.reports.outputs_figures:outputs_epochs_figure",
            "shots": "iclprobe.reports.outputs_figures:outputs_shots_figure",
            "models": "iclprobe.reports.outputs_figures:outputs_models_figure",
            "pairs": "iclprobe.reports.outputs_figures:outputs_pairs_figure",
        },
        sheet="iclprobe.reports.outputs:outputs_sheet",
        needs="models and task",
        study=f"{__package__}.study:OutputsStudy",
        check="iclprobe.analyses.arms.config:check_arms",
    )
)


def outputs(config: OutputsConfig | None = None, **options: Any) -> OutputsStudy:
    """Compare the answers of finetuned models, without demonstrations, with those in context (Shen et al. §5).

    Accuracy over the vocabulary and over the label set, and how alike the most probable tokens are, over arms,
    learning rates, epochs and numbers of demonstrations. Of every distribution the top K tokens are kept.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `OutputsConfig`, such as ``shots=(4, 8)`` or ``learning_rates=(1e-3, 1e-2)``, a ``model``
            or ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    study = run_analysis(OUTPUTS, config, **options)
    assert isinstance(study, OutputsStudy)
    return study
