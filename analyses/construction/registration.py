"""The study of the construction: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ...study.study import Study
from .config import ConstructionConfig

_LOSS = "mean over tasks of ½ ‖f - y‖²"
TRAINING = Table(
    "training",
    "one comparison of the layer in training with one step of gradient descent",
    (
        Column("step", "integer", "steps taken; 0 is before training, the last is the trained layer"),
        Column("loss", "number", f"of the layer, {_LOSS}"),
        Column("prediction_difference", "number", "mean ‖f - f_GD‖", "L2", "von Oswald et al. 2023, Fig. 2"),
        Column(
            "sensitivity_cosine",
            "number",
            "mean cosine of ∂f/∂x_query with gradient descent's",
            "cosine",
            "von Oswald et al. 2023, Fig. 2",
        ),
        Column(
            "sensitivity_difference",
            "number",
            "mean ‖∂f/∂x_query - ∂f_GD/∂x_query‖",
            "L2",
            "von Oswald et al. 2023, Fig. 2",
        ),
    ),
)
CONSTRUCTED = Table(
    "construction",
    "the layer that is one step of gradient descent by construction",
    (
        Column("step_size", "number", "GD's eta, found by line search on tasks of its own"),
        Column("loss", "number", f"of the constructed layer, {_LOSS}"),
        Column(
            "key_query_distance",
            "number",
            "‖A - A_trained‖ / ‖A‖ of the x columns of rescaled W_Kᵀ W_Q",
            "of the constructed one's size",
        ),
        Column(
            "projected_value_distance",
            "number",
            "‖A - A_trained‖ / ‖A‖ of the y rows of rescaled P W_V",
            "of the constructed one's size",
        ),
    ),
)
SWEEPS = Table(
    "sweeps",
    "one learner at one value of what is varied",
    (
        Column("varied", "text", "what is varied: the way between the weight sets, x, W, or demonstrations"),
        Column("value", "number", "its value"),
        Column("learner", "text", "whose predictions"),
        Column("loss", "number", _LOSS),
        Column("difference", "number", "mean ‖f - f_trained‖; undefined of the trained layer", "L2"),
    ),
)
ESTIMATORS = Table(
    "estimators",
    "one estimator beside the trained layer",
    (
        Column("estimator", "text", "its name"),
        Column("loss", "number", f"of the estimator itself, {_LOSS}"),
        Column(
            "squared_prediction_difference",
            "number",
            "SPD with the trained layer",
            "",
            "Akyürek et al. 2023, Eq. 15",
        ),
        Column(
            "implicit_weight_difference",
            "number",
            "ILWD with the trained layer",
            "",
            "Akyürek et al. 2023, Eq. 17",
        ),
    ),
)
SPARSITY = Table(
    "sparsity",
    "one matrix of one kind of weights and one threshold; of a pretrained model the mean over layers",
    (
        Column("weights", "text", "constructed, trained for ICL, or pretrained on text"),
        Column("width", "integer", "width d"),
        Column("matrix", "text", "query, key, value, or the rescaled products key_query and projected_value"),
        Column("threshold", "number", "δ"),
        Column("below", "number", "fraction of entries with |w| < δ", "", "Shen et al. §3.2, Fig. 2"),
        Column(
            "below_relative",
            "number",
            "fraction of entries with |w| < δ standard deviations of the matrix",
            "",
            "Shen et al. Fig. 10",
        ),
    ),
)
ZEROS = Table(
    "zeros",
    "one matrix of the construction at the pretrained model's width; empty without one",
    (
        Column("model", "text", "the pretrained model"),
        Column("width", "integer", "its width d; N_x = N_y = d / 2"),
        Column("matrix", "text", "query, key, value or projection"),
        Column("zeros", "number", "fraction of entries that are zero", "", "Shen et al. §3.2"),
    ),
)
PRODUCTS = Table(
    "products",
    "one entry of a rescaled product of the weights",
    (
        Column("weights", "text", "trained or constructed"),
        Column("product", "text", "key_query (W_Kᵀ W_Q) or projected_value (P W_V)"),
        Column("row", "integer", "counted from 0; x comes first, then y"),
        Column("column", "integer", "counted from 0"),
        Column(
            "entry", "number", "after the mean x diagonal of W_Kᵀ W_Q is made 1 and P W_V multiplied by it"
        ),
    ),
)

CONSTRUCTION = register(
    Analysis(
        name="construction",
        summary="Train a linear self-attention layer for in-context regression and compare it with gradient descent.",
        config=ConstructionConfig,
        measure=f"{__package__}.measurement:measure_construction",
        tables=(TRAINING, CONSTRUCTED, SWEEPS, ESTIMATORS, SPARSITY, ZEROS, PRODUCTS),
        figures={
            "agreement": "iclprobe.reports.construction_figures:agreement_of",
            "products": "iclprobe.reports.construction_figures:products_of",
            "sparsity": "iclprobe.reports.construction_sparsity_figure:sparsity_of",
        },
        sheet="iclprobe.reports.construction:construction_sheet",
        needs="nothing",
        in_memory=(),
    )
)


def construction(config: ConstructionConfig | None = None, **options: Any) -> Study:
    """Train a linear self-attention layer for in-context regression and compare it with gradient descent.

    The comparisons are those of von Oswald et al. 2023 (§3) and, for estimators, of Akyürek et al. 2023 (§4.1); the
    argument they belong to is Shen et al.'s §3.

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `ConstructionConfig`, such as ``n_x=5`` or ``steps=1000``, and ``out``, ``overwrite`` and
            ``say`` of `run_analysis`.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(CONSTRUCTION, config, **options)
