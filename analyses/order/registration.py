"""The analysis of order sensitivity: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ...study.study import Study
from ..arms.columns import ARM_KEY
from ..prompt_table import PROMPTS
from .config import OrderConfig

ROWS = Table(
    "rows",
    "one model, draw, arm, drawn layer, learning rate and epoch; in-context learning first",
    (
        *ARM_KEY,
        Column("orders", "integer", "orders of the demonstrations, R"),
        Column("queries", "integer", "queries asked"),
        Column(
            "demonstrations",
            "integer",
            "demonstrations in use: fewer than asked for where they do not fit the context window",
        ),
        Column(
            "sensitivity",
            "number",
            "Sen: the spread of tokens' probabilities over orders, as aggregate puts it together, mean over queries; "
            "undefined where finetuning diverged",
            "",
            "Shen et al. section 4; R13",
        ),
        Column("sensitivity_std", "number", "its population standard deviation over queries"),
        Column("accuracy_labels", "number", "share right over the label set, mean over orders", "share"),
        Column(
            "accuracy_vocabulary",
            "number",
            "share right over the whole vocabulary, mean over orders",
            "share",
        ),
    ),
)

ORDER = register(
    Analysis(
        name="order",
        summary="Measure how much the order of demonstrations matters, in context and finetuned "
        "(Shen et al. section 4).",
        config=OrderConfig,
        measure=f"{__package__}.measurement:measure_order",
        tables=(ROWS, PROMPTS),
        figures={
            "sensitivity": "iclprobe.reports.order:order_figure",
            "epochs": "iclprobe.reports.order:order_epochs_figure",
        },
        sheet="iclprobe.reports.order:order_sheet",
        needs="models and task",
        check="iclprobe.analyses.arms.config:check_arms",
    )
)


def order(config: OrderConfig | None = None, **options: Any) -> Study:
    """Measure how much answers depend on the order of demonstrations (Shen et al. section 4, appendix A).

    The same orders of the same demonstrations are shown in context and finetuned on, and the distribution of the
    next token is compared over them. Full-batch gradient descent takes the demonstrations all at once: its
    sensitivity is rounding, unless the learning rate is so large that training amplifies rounding. Moments are
    kept, never all distributions: two fp64 numbers a query and token for each epoch evaluated.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `OrderConfig`, such as ``orders=10`` or ``arms=("shen", "shen_sgd")``, a ``model`` or
            ``task`` in memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(ORDER, config, **options)
