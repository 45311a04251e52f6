"""How the studies of an experiment become the rows and columns of its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from .barnatan import AVERAGE
from .declaration import Experiment
from .measured import Measured, over_repetitions
from .shen2024 import GD
from .study_rows import (
    ICL,
    OutputRow,
    constructed_fractions,
    gradient_norms,
    late_pairs,
    order_rows,
    output_rows,
    parameter_gap,
)

Studies = Mapping[str, Any]
"""The studies of an experiment by the label of its part."""

View = Callable[[Experiment, Studies], tuple[Measured, ...]]


def comparison(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the declared rows of a table of comparisons, one column a part."""
    return tuple(
        over_repetitions(row.label, label, _each_draw(study[row.recipe], row.measure))
        for row in experiment.rows
        for label, study in studies.items()
    )


def _each_draw(study: Any, measure: str) -> list[float]:
    measures = study.tables["measures"]
    return [float(value) for value in measures.loc[measures["measure"] == measure, "value"]]


def comparison_with_average(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the same with a last column that averages over parts."""
    numbers = comparison(experiment, studies)
    averages = [
        over_repetitions(row.label, AVERAGE, [entry.value for entry in numbers if entry.row == row.label])
        for row in experiment.rows
    ]
    return (*numbers, *averages)


PARTITION: tuple[tuple[str, str], ...] = (
    ("shared, correct", "shared_correct"),
    ("shared, incorrect", "shared_incorrect"),
    ("ICL only, correct", "icl_correct"),
    ("ICL only, incorrect", "icl_incorrect"),
    ("FT only, correct", "ft_correct"),
    ("FT only, incorrect", "ft_incorrect"),
)
"""The parts of Bar Natan et al. Fig. 1 and their columns in the table ``draws``."""


def partition(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return how many predictions ICL and finetuning changed, shared or not, correct or not."""
    return tuple(
        over_repetitions(row, label, [int(count) for count in study["dai"].tables["draws"][name]])
        for label, study in studies.items()
        for row, name in PARTITION
    )


def sparsity(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the percentage of entries below each threshold, mean and deviation over layers."""
    from ...study.names import MATRIX_NAMES

    result = []
    for label, study in studies.items():
        fractions, constructed = study.tables["fractions"], constructed_fractions(study)
        for matrix, of_matrix in fractions.groupby("matrix", sort=False):
            row = f"{MATRIX_NAMES[matrix]}, {label}"
            for threshold, below in of_matrix.groupby("threshold", sort=False)["below"]:
                values = [100 * value for value in below]
                result.append(over_repetitions(row, f"|w| < {threshold:g}", values))
            if matrix in constructed:
                result.append(Measured(row, "constructed", 100 * constructed[matrix]))
    return tuple(result)


def drift(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the parameter gap to the previous and the first checkpoint, and accuracies over checkpoints."""
    result = []
    for study in studies.values():
        previous, first = parameter_gap(study, "previous"), parameter_gap(study, "first")
        accuracy = study.tables["accuracy"]
        for place, label in enumerate(study.tables["checkpoints"]["checkpoint"]):
            row = f"step {label}"
            result.append(Measured(row, "gap to previous", previous[place]))
            result.append(Measured(row, "gap to first", first[place]))
            for task, found in accuracy[accuracy["place"] == place].groupby("task", sort=False):
                result.append(over_repetitions(row, f"ICL, {task}", found["icl"].tolist()))
    return tuple(result)


def order_by_arm(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return Sen and accuracy of each algorithm at the last epoch, over draws, rates and layers."""
    result = []
    for study in studies.values():
        rows = order_rows(study)
        for arm in dict.fromkeys(row.arm for row in rows):
            found = [row for row in rows if row.arm == arm]
            last = max(row.epoch for row in found)
            at_end = [row for row in found if row.epoch == last]
            result += [
                over_repetitions(arm, "Sen", [row.sensitivity for row in at_end]),
                over_repetitions(arm, "accuracy", [row.accuracy for row in at_end]),
            ]
    return tuple(result)


def order_by_rate(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return Sen of each algorithm and learning rate at the first and last evaluation, over draws and layers."""
    result = []
    for label, study in studies.items():
        rows = order_rows(study)
        prefix = f"{label}, " if len(studies) > 1 else ""
        for arm, rate in dict.fromkeys((row.arm, _rate(row.learning_rate)) for row in rows):
            found = [row for row in rows if (row.arm, _rate(row.learning_rate)) == (arm, rate)]
            name = f"{prefix}{arm}" + (f", rate {rate}" if rate else "")
            epochs = sorted({row.epoch for row in found})
            for epoch in dict.fromkeys((epochs[0], epochs[-1])):
                at = [row for row in found if row.epoch == epoch]
                column = "Sen" if epoch == epochs[-1] else f"Sen at epoch {epoch}"
                result.append(over_repetitions(name, column, [row.sensitivity for row in at]))
                if epoch == epochs[-1]:
                    result.append(over_repetitions(name, "accuracy", [row.accuracy for row in at]))
    return tuple(result)


OUTPUT_METRICS: Mapping[str, str] = {"accuracy": "accuracy", "token overlap": "token_overlap", "OCS": "ocs"}
"""What the three metrics of Shen et al. §5.1 are called in tables, and in `OutputRow`."""


def shown_rows(experiment: Experiment, study: Any) -> list[OutputRow]:
    """Return the rows of an outputs study that an experiment shows; ICL and zero-shot always are."""
    return [
        row
        for row in output_rows(study)
        if (not experiment.arms or not row.is_finetuned or row.arm in experiment.arms)
        and (not experiment.shots or row.shots in experiment.shots)
    ]


def outputs(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the three metrics of ICL, and of each arm and rate at the last epoch, by number of demonstrations."""
    result = []
    for label, study in studies.items():
        rows = shown_rows(experiment, study)
        prefix = f"{label}, " if len(studies) > 1 else ""
        cells = dict.fromkeys((row.shots, row.arm, _rate(row.learning_rate)) for row in rows)
        for shots, arm, rate in cells:
            found = [
                row for row in rows if (row.shots, row.arm, _rate(row.learning_rate)) == (shots, arm, rate)
            ]
            last = max(row.epoch for row in found)
            name = f"{prefix}N = {shots}, {arm}" + (f", rate {rate}" if rate else "")
            for column, field in OUTPUT_METRICS.items():
                values = [getattr(row, field) for row in found if row.epoch == last]
                result.append(over_repetitions(name, column, values))
    return tuple(result)


def accuracy_by_shots(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the accuracy of the best rate at the last epoch, one row a dataset and one column a number of shots."""
    result = []
    for label, study in studies.items():
        rows = [row for row in shown_rows(experiment, study) if row.is_finetuned]
        for shots in dict.fromkeys(row.shots for row in rows):
            found = [row for row in rows if row.shots == shots]
            last = max(row.epoch for row in found)
            candidates = [
                over_repetitions(
                    label,
                    f"{shots} demonstrations",
                    [row.accuracy for row in found if (row.learning_rate, row.epoch) == (rate, last)],
                )
                for rate in dict.fromkeys(row.learning_rate for row in found)
            ]
            defined = [entry for entry in candidates if not math.isnan(entry.value)] or candidates
            result.append(max(defined, key=lambda entry: entry.value))
    return tuple(result)


def pairwise(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the agreement between checkpoints of GD, those of the first evaluation left out, and of ICL with ICL."""
    result = []
    for study in studies.values():
        rows = output_rows(study)
        for column, field in (("token overlap", "token_overlap"), ("OCS", "ocs")):
            values = [getattr(row, field) for row in rows if row.arm == ICL]
            result.append(over_repetitions("ICL and ICL, other order", column, values))
            means = [mean(found) for found in late_pairs(study, GD, field).values() if found]
            result.append(over_repetitions("GD and GD, other rate or epoch", column, means))
    return tuple(result)


def gradients(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return the gradient norm of each layer and recipe, mean and deviation over demonstrations."""
    from .barnatan import FT, LCFT

    result = []
    for study in studies.values():
        for column, recipe in (("standard FT", FT), ("layer-causal FT", LCFT)):
            norms = gradient_norms(study, recipe)
            for layer, values in enumerate(norms.T.tolist()):
                result.append(over_repetitions(f"layer {layer}", column, values))
    return tuple(result)


def _rate(learning_rate: float) -> str:
    return "" if math.isnan(learning_rate) else f"{learning_rate:g}"


VIEWS: Mapping[str, View] = {
    "comparison": comparison,
    "comparison_with_average": comparison_with_average,
    "partition": partition,
    "sparsity": sparsity,
    "drift": drift,
    "order_by_arm": order_by_arm,
    "order_by_rate": order_by_rate,
    "outputs": outputs,
    "accuracy_by_shots": accuracy_by_shots,
    "pairwise": pairwise,
    "gradients": gradients,
}


def measured_of(experiment: Experiment, studies: Studies) -> tuple[Measured, ...]:
    """Return every number of an experiment's table."""
    return VIEWS[experiment.view](experiment, studies)


def value_of(numbers: tuple[Measured, ...], row: str, column: str) -> float:
    """Return one number of a table; NaN where there is none."""
    return next((entry.value for entry in numbers if (entry.row, entry.column) == (row, column)), math.nan)
