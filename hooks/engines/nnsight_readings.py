"""What nnsight is asked for: for each site of a plan the module, or the labelled operation, whose values are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ...errors import UserError, shown
from ...models.layer_parts import LayerParts
from ..module_sites import places_of
from ..plan import SITES_OF_THE_CALL
from ..registry import own_eager_function
from ..resolved_plan import ResolvedPlan

# Labels are the path of what is called, joined by underscores, and a count: nnsight makes them of the source.
_SOFTMAX = re.compile(r"(\w+_)?softmax_\d+")
_ATTENTION = re.compile(r"attention_interface_\d+")
_METHOD = re.compile(r"self__attn_\d+")
_JOINED = re.compile(r"torch_cat_\d+")

# Of queries and keys, for the values come after it.
_PRODUCT = "torch_matmul_0"

Reading = dict[str, Any]


def readings_of(resolved: ResolvedPlan, root: Any, version: str) -> list[list[Reading]]:
    """Return what to read, in lists whose entries the model reaches one after the other.

    A reading is made of plain values, for it may travel to a server. Its ``path`` is nnsight's of a module.

    Args:
        resolved: The plan and the model.
        root: nnsight's wrapper of the model.
        version: nnsight's version.

    Raises:
        UserError: If attention has no operation where it is looked for.
    """
    names = {module: name for name, module in resolved.model.module.named_modules()}
    parts = sorted(resolved.parts, key=lambda part: part.index)
    sites = resolved.plan.sites
    groups: list[list[Reading]] = []
    for site in sites:
        if site in SITES_OF_THE_CALL:
            continue
        stream = resolved.model.family.stream if site in ("residual_before", "residual") else None
        groups.append([])
        for part in parts:
            module, given = places_of(part)[site]
            assert module is not None  # the plan was resolved
            groups[-1].append(
                {
                    "site": site,
                    "layer": part.index,
                    "path": names[module],
                    "given": given,
                    "stream": stream,
                }
            )
    if set(sites).isdisjoint(SITES_OF_THE_CALL):
        return groups
    attention = [_attention_readings(resolved, part, names[part.attention], root, version) for part in parts]
    if all(len(choices) == 1 for choices in attention):
        return [*groups, [reading for choices in attention for reading in choices]]
    # Of several operations nobody knows which one runs: a reader of each waits by itself.
    return [*groups, *([reading] for choices in attention for reading in choices)]


def places_read(groups: list[list[Reading]]) -> dict[str, tuple[int, str]]:
    """Return by nnsight's names of places the layer and the site of what is read there."""
    places = {}
    for reading in (reading for group in groups for reading in group):
        place = f"model.{reading['path']}"
        if "site" in reading:
            end = "input" if reading["given"] else "output"
            places[f"{place}.{end}"] = (reading["layer"], reading["site"])
            continue
        labels = [label for label in (reading["call"], reading["softmax"]) if label]
        place = ".".join([place, *(f"source.{label}" for label in labels)])
        places[f"{place}.input"] = (reading["layer"], "attention")
    return places


def _attention_readings(
    resolved: ResolvedPlan, part: LayerParts, path: str, root: Any, version: str
) -> list[Reading]:
    sites = resolved.plan.sites
    vectors = [site for site in ("queries", "keys", "values") if site in sites]
    rows = [site for site in ("scores", "pattern") if site in sites]
    call, names = _function_that_attends(part, root.get(path))
    if vectors and not call:
        raise UserError(
            f"nnsight {version} shows no {vectors[0]} in attention of layer {part.index} "
            f"({type(part.attention).__name__}), which calls no function with them: take engine native"
        )
    reading: Reading = {
        "layer": part.index,
        "path": path,
        "call": call,
        "vectors": vectors,
        "rows": rows,
        "softmax": "",
        "sinks": "",
        "product": "",
        "scaled": False,
        "maybe": False,
    }
    if not rows:
        return [reading]
    softmaxes = _softmaxes(names)
    if not softmaxes:
        raise UserError(
            f"nnsight {version} labels no softmax in attention of layer {part.index} of "
            f"{shown(resolved.model.name)} ({type(part.attention).__name__}; it labels {shown(', '.join(names))}): "
            "take engine native"
        )
    space = resolved.plan.score_space
    if space in ("raw", "scaled"):
        if _PRODUCT not in names or not _ATTENTION.fullmatch(call):
            raise UserError(
                f"nnsight {version} labels no {_PRODUCT!r} in attention of layer {part.index} "
                f"({type(part.attention).__name__}), which would be the {space} scores: take score space "
                "softmax_input, or engine native"
            )
        reading |= {"product": _PRODUCT, "scaled": space == "scaled"}
    return [
        {
            **reading,
            "softmax": softmax,
            "sinks": _joined_before(softmax, names),
            "maybe": len(softmaxes) > 1,
        }
        for softmax in softmaxes
    ]


def _function_that_attends(part: LayerParts, envoy: Any) -> tuple[str, tuple[str, ...]]:
    """Return the label of the call of a function that attends, and the labels inside it.

    Without such a function the label is empty, and the labels are those of the module's own forward.
    """
    names = envoy.source.names
    calls = [name for name in names if _ATTENTION.fullmatch(name)]
    if calls:
        # The first is the assignment of the function, the last its call.
        function = ALL_ATTENTION_FUNCTIONS.get("eager") or own_eager_function(part.attention)
        return calls[-1], _labels(function)
    calls = [name for name in names if _METHOD.fullmatch(name)]
    if len(calls) == 1:
        return calls[0], _labels(type(part.attention)._attn)  # type: ignore[attr-defined]
    return "", names


def _labels(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return nnsight's labels of the operations of a function, in their order."""
    from nnsight.intervention.source import compiled, decorator_chain

    return compiled(decorator_chain(function)[0]).names


def _softmaxes(names: tuple[str, ...]) -> list[str]:
    found = [name for name in names if _SOFTMAX.fullmatch(name)]
    # A softmax that is a module made on the spot: what is called has no name.
    return found or (["call_0"] if "nn_Softmax_0" in names and "call_1" not in names else [])


def _joined_before(softmax: str, names: tuple[str, ...]) -> str:
    """Return the label of what joins sinks to the softmax's input, or nothing."""
    before = names[: names.index(softmax)]
    joined = [name for name in before if _JOINED.fullmatch(name)]
    # Behind the product of queries and keys: rotary embeddings are joined, too.
    behind = [name for name in joined if any("matmul" in other for other in before[: before.index(name)])]
    return behind[-1] if behind else ""
