"""One trace a batch: nnsight runs the model, and only what was asked for leaves it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, reason_of
from ...models.loading import LanguageModel
from ..computing_dtype import computing_dtype
from ..rows import Wanted
from .nnsight_readings import Reading, places_read
from .nnsight_rows import read_answer, read_attention, read_module


def trace(
    model: Any,
    inputs: dict[str, Any],
    groups: list[list[Reading]],
    wanted: dict[str, Any],
    *,
    keep: Tensor | None,
    cache: bool = False,
    backend: Any = None,
) -> dict[Any, Any]:
    """Run a model once and return what was read, by site and layer.

    nnsight compiles the block below from its source and runs it beside the model, or on a server; it may name nothing
    but plain values, torch, nnsight and functions that travel.

    Args:
        model: What nnsight wraps the model in.
        inputs: The arguments of its forward.
        groups: What to read of its modules; each list is read by a reader of its own, in its order.
        wanted: The rows; see `read_attention`.
        keep: The token positions whose logits are wanted, ``[U]``; all, if nothing is said.
        cache: Whether keys and values are.
        backend: Where it runs; here, if nothing is said.

    Raises:
        UserError: If an operation never ran that was to be read.
    """
    import nnsight
    from nnsight.intervention.interleaver import OutOfOrderError

    found: dict[Any, Any] = {}
    answer = {"keep": keep, "cache": cache, "places": places_read(groups)}
    try:
        with torch.no_grad(), model.trace(backend=backend) as tracer:
            found = nnsight.save({"missing": [], "odd": [], "behind": []})
            with tracer.invoke(**inputs):
                read_answer(found, model, answer)
            for group in groups:
                with tracer.invoke():
                    for reading in group:
                        if "site" in reading:
                            read_module(found, model.get(reading["path"]), reading, wanted)
                        else:
                            read_attention(found, model.get(reading["path"]), reading, wanted)
    except OutOfOrderError as error:
        raise UserError(
            f"nnsight {nnsight.__version__} never reached what was to be read: {reason_of(error, 150)}: take engine "
            "native, or other sites or layers"
        ) from error
    return found


def wanted_values(wanted: Wanted, exists: Tensor, model: LanguageModel) -> dict[str, Any]:
    """Return the wanted rows as plain values.

    Args:
        wanted: The rows.
        exists: Which tokens are real, ``[B, past + S]``.
        model: The model.
    """
    rows = wanted.rows.cpu()
    # The lowest number there is hides keys, added to a score; CodeGen divides the sum by the root of the head width.
    lowest = torch.finfo(computing_dtype(model)).min / (2 * max(1.0, model.geometry.head_width**0.5))
    return {
        "rows": rows,
        "real": exists.cpu().gather(1, rows + wanted.past),
        "past": wanted.past,
        "tokens": wanted.tokens,
        "width": wanted.width,
        "lowest": lowest,
    }
