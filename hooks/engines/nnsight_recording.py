"""What a trace brought home, checked, as the recording of a plan."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import UserError, shown
from ...models.layer_parts import LayerParts
from ..computing_dtype import computing_dtype
from ..forward_rows import ForwardRows, Recording
from ..head_output import head_outputs, output_weight
from ..plan import Site
from ..resolved_plan import ResolvedPlan
from ..rows import Wanted, keep_columns

_OF_THE_SOFTMAX: tuple[Site, ...] = ("scores", "pattern")
# How far a pattern may be from the softmax of its scores, relative to the row's largest entry.
_ROUNDING = {torch.float16: 2e-3, torch.bfloat16: 2e-2}


def recording_of(resolved: ResolvedPlan, wanted: Wanted, found: dict[Any, Any], version: str) -> Recording:
    """Return the recording of what left a trace.

    Args:
        resolved: The plan and the model.
        wanted: The rows.
        found: What left the trace; see `nnsight_rows`.
        version: nnsight's version.

    Raises:
        UserError: If an operation was missing, a site gave nothing or something else than the family's row says, or a
            pattern is not the softmax of the scores that were shown.
    """
    model = resolved.model
    if found["missing"]:
        layer, label, labels = found["missing"][0]
        raise UserError(
            f"nnsight {version} labels no operation {label!r} in attention of layer {layer} of {shown(model.name)} "
            f"where it runs (it labels {shown(', '.join(labels))}): take engine native"
        )
    rows = ForwardRows(resolved)
    rows.wanted = wanted
    for layer, site in found["twice"]:
        raise UserError(
            f"layer {layer} of {shown(model.name)} gave {site} twice in one forward: take engine native"
        )
    for layer, site, tokens in found["odd"]:
        raise UserError(
            f"nnsight {version} shows {site} of {tokens} tokens in layer {layer} of {shown(model.name)}, where "
            f"{wanted.tokens} ran: take engine native, or leave the site out"
        )
    if found["behind"] and rows.asks_for("pattern"):
        raise UserError(
            f"layer {found['behind'][0]} of {shown(model.name)} takes its sinks into account behind the softmax, so "
            "what the softmax gives is not the pattern: leave pattern out of the plan's sites, or take engine native"
        )
    for part in resolved.parts:
        if rows.asks_for(*_OF_THE_SOFTMAX):
            _keep_scores(rows, part, wanted, found, version)
        for site in resolved.plan.sites:
            if site not in _OF_THE_SOFTMAX:
                _keep_vectors(rows, part, site, found, version)
    return rows.whole()


def _keep_vectors(
    rows: ForwardRows, part: LayerParts, site: Site, found: dict[Any, Any], version: str
) -> None:
    taken = _of(found, site, part, rows, version)
    if site == "head_output":
        heads = rows.resolved.model.geometry_of(part.index).heads
        taken = head_outputs(taken, output_weight(part), heads)
    if site == "attention_output" and part.output_bias is not None:
        if part.output_bias.is_meta:
            raise UserError(
                f"the bias of the output projection of layer {part.index} stands apart from it, on the server: leave "
                "attention_output out of the plan's sites, or run the model here"
            )
        taken = taken + part.output_bias.detach().float().cpu()
    rows.keep(site, part, taken)


def _keep_scores(
    rows: ForwardRows, part: LayerParts, wanted: Wanted, found: dict[Any, Any], version: str
) -> None:
    name = shown(rows.resolved.model.name)
    visible = keep_columns(_of(found, "visible", part, rows, version), wanted)
    tolerance = _ROUNDING.get(computing_dtype(rows.resolved.model), 1e-5)
    unlike = found["unlike", part.index]
    # Not "more than", for what is no number is unlike, too.
    if not unlike <= tolerance:
        raise UserError(
            f"in layer {part.index} of {name} nnsight {version} shows a pattern that is not the softmax of its "
            f"scores (by {unlike:.0e} of the largest entry): take engine native"
        )
    if found["later", part.index]:
        raise UserError(
            f"in layer {part.index} of {name} later keys are not hidden by the lowest number there is, so nnsight's "
            "scores do not tell what is visible: take engine native"
        )
    seen = rows.resolved.plan.score_space in ("softmax_input", "softcapped")
    if found["shifted", part.index] and seen and rows.asks_for("scores"):
        raise UserError(
            f"layer {part.index} of {name} subtracts the largest score of each row before the softmax, so what it "
            "sees are not the scores: leave this layer out of the plan's layers, or take engine native"
        )
    for site in _OF_THE_SOFTMAX:
        if rows.asks_for(site):
            rows.keep(site, part, keep_columns(_of(found, site, part, rows, version), wanted))
    rows.keep_visible(part, visible)


def _of(found: dict[Any, Any], site: str, part: LayerParts, rows: ForwardRows, version: str) -> Any:
    if (site, part.index) not in found:
        shows = "softmax" if site == "visible" else site
        raise UserError(
            f"nnsight {version} showed no {shows} in layer {part.index} of {shown(rows.resolved.model.name)}: take "
            "engine native, or leave the site or the layer out"
        )
    return found[site, part.index]
