"""Training a layer to be gradient descent, and measuring how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...addresses import public
from ...errors import UserError
from ...models.weights import attention_projections
from ...probes.constructions import constructed_sparsity, von_oswald_construction
from ...probes.linear_attention import LinearSelfAttention, product_distances
from ...probes.linear_estimators import best_step_size
from ..context import Context, Measured
from .config import ConstructionConfig
from .estimators import compare_with_estimators
from .findings import construction_findings
from .sparsity import CONSTRUCTED, TRAINED_FOR_ICL, layer_sparsity, pretrained_sparsity
from .sweeps import evaluation_tasks, interpolation, other_demonstrations, scaled_tasks
from .training import layer_predictions, regression_loss, train_layer


def measure_construction(config: ConstructionConfig, context: Context) -> Measured:
    """Train a linear self-attention layer for in-context regression and compare it with gradient descent.

    Args:
        config: What is asked.
        context: Told how far training is.

    Raises:
        UserError: If the pretrained model cannot be read, gradient descent changes nothing, or training diverges.
    """
    # A model that cannot be read is refused before training.
    if config.model is not None:
        context.note_weights(config.model)
    pretrained = _pretrained(config)
    step_size = _step_size(config)
    constructed = von_oswald_construction(
        config.n_x, config.n_y, step_size=step_size, demonstrations=config.demonstrations
    )
    tasks = evaluation_tasks(config, "evaluation")
    trained, training = train_layer(config, constructed, tasks, context.say)
    key_query, projected_value = product_distances(trained, constructed)
    layers = {"trained": trained, "constructed": constructed}
    tables = {
        "training": training,
        "construction": [
            {
                "step_size": step_size,
                "loss": float(regression_loss(layer_predictions(constructed, tasks), tasks)),
                "key_query_distance": key_query,
                "projected_value_distance": projected_value,
            }
        ],
        "sweeps": [
            *interpolation(trained, constructed, tasks, config.interpolation_points),
            *scaled_tasks(trained, constructed, tasks, config.input_scales, weights=False),
            *scaled_tasks(trained, constructed, tasks, config.weight_scales, weights=True),
            *other_demonstrations(config, trained, constructed, step_size),
        ],
        "estimators": compare_with_estimators(config, trained, step_size, tasks),
        "sparsity": [
            *layer_sparsity(constructed, CONSTRUCTED),
            *layer_sparsity(trained, TRAINED_FOR_ICL),
            *pretrained,
        ],
        "zeros": _zeros(config, pretrained),
        "products": [row for name, layer in layers.items() for row in _product_rows(name, layer)],
        "facts": _facts(config, step_size),
    }
    return Measured(config, tables, construction_findings(config, tables), _arrays(layers))


def _step_size(config: ConstructionConfig) -> float:
    search = evaluation_tasks(config, "step size")
    try:
        return best_step_size(search.x, search.y, search.query[:, None], search.target[:, None])
    except ValueError as error:
        raise UserError(
            f"{error}: raise input_range ({config.input_range:g}) or weight_scale ({config.weight_scale:g})"
        ) from error


def _pretrained(config: ConstructionConfig) -> list[dict[str, Any]]:
    if config.model is None:
        return []
    read = attention_projections(config.model, revision=config.revision)
    return pretrained_sparsity(
        ((projection.matrix, projection.weight) for projection in read), public(config.model)
    )


def _zeros(config: ConstructionConfig, pretrained: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the construction's fraction of zeros at the pretrained model's width, with N_x = N_y = d / 2."""
    if config.model is None:
        return []
    width = pretrained[0]["width"]
    key = {"model": public(config.model), "width": width}
    return [
        {**key, "matrix": matrix, "zeros": zeros} for matrix, zeros in constructed_sparsity(width).items()
    ]


def _product_rows(weights: str, layer: LinearSelfAttention) -> Iterator[dict[str, Any]]:
    for product, matrix in zip(("key_query", "projected_value"), layer.rescaled_products(), strict=True):
        for place, entries in enumerate(matrix.tolist()):
            for column, entry in enumerate(entries):
                key = {"weights": weights, "product": product, "row": place, "column": column}
                yield {**key, "entry": entry}


def _arrays(layers: dict[str, LinearSelfAttention]) -> dict[str, dict[str, Any]]:
    """Return the matrices of both layers, and their rescaled products."""
    weights, products = {}, {}
    for name, layer in layers.items():
        for matrix, values in layer.matrices.items():
            weights[f"{name}.{matrix}"] = values.contiguous().numpy()
        for product, values in zip(("key_query", "projected_value"), layer.rescaled_products(), strict=True):
            products[f"{name}.{product}"] = values.contiguous().numpy()
    return {"weights": weights, "products": products}


def _facts(config: ConstructionConfig, step_size: float) -> list[dict[str, str]]:
    return [
        {
            "name": "task",
            "text": f"in-context linear regression: N_x = {config.n_x}, N_y = {config.n_y}, "
            f"N = {config.demonstrations} demonstrations, seed {config.seed}",
        },
        {
            "name": "trained",
            "text": f"{config.steps} steps of Adam on {config.batch_size} new tasks each, "
            f"learning rate {config.learning_rate:g} ({config.schedule})",
        },
        {
            "name": "compared with",
            "text": f"one step of gradient descent, eta = {step_size:.4g} by line search, "
            f"on {config.evaluation_tasks} tasks",
        },
    ]
