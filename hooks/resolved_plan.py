"""A plan resolved against a model: once, and applied to many forwards."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError, shown
from ..models.layer_parts import LayerParts, absolute_layer, layers_with_attention
from ..models.loading import LanguageModel
from .plan import SITES, CapturePlan


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan together with the modules of the model that it was resolved against.

    Attributes:
        plan: The plan.
        model: The model.
        parts: The modules of the layers to record, in the order asked for.
    """

    plan: CapturePlan
    model: LanguageModel
    parts: tuple[LayerParts, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers recorded, counted from 0, in the order asked for."""
        return tuple(part.index for part in self.parts)


def resolve_plan(plan: CapturePlan | None, model: LanguageModel) -> ResolvedPlan:
    """Find the modules a plan asks for.

    Raises:
        UserError: If a layer does not exist, is named twice, or the family cannot give the score space.
    """
    plan = plan or CapturePlan()
    count, parts = model.n_layers, {part.index: part for part in model.parts}
    if plan.layers is None:
        wanted = tuple(parts)
    elif isinstance(plan.layers, slice):
        wanted = tuple(index for index in range(count)[plan.layers] if index in parts)
    else:
        wanted = plan.layers
    for layer in wanted:
        if not -count <= layer < count:
            raise UserError(
                f"no layer {layer}: {shown(model.name)} has layers 0 to {count - 1} (or -{count} to -1)"
            )
    indices = tuple(absolute_layer(model.parts, layer) for layer in wanted)
    if not indices or len(set(indices)) < len(indices):
        raise UserError(
            f"layers {shown(plan.layers)} of a model with {count} layers name no layer, or one twice"
        )
    if not plan.sites:
        raise UserError("a capture plan needs at least one site: " + ", ".join(SITES))
    without = next((index for index in indices if index not in parts), None)
    if without is not None:
        raise UserError(
            f"layer {without} of {shown(model.name)} has no attention to capture: "
            f"{layers_with_attention(model.parts)}"
        )
    _refuse_missing_space(plan, model)
    resolved = ResolvedPlan(plan, model, tuple(parts[index] for index in indices))
    _refuse_missing_sites(resolved)
    return resolved


def _refuse_missing_sites(resolved: ResolvedPlan) -> None:
    plan, model = resolved.plan, resolved.model
    if "mlp_output" in plan.sites:
        without = next((part.index for part in resolved.parts if part.mlp_output is None), None)
        if without is not None:
            raise UserError(
                f"layer {without} of {shown(model.name)} has no one module that gives its MLP output: leave "
                "mlp_output "
                "out of the plan's sites"
            )
    heads = {index: model.geometry_of(index).heads for index in resolved.layers}
    if len(set(heads.values())) > 1 and {"scores", "pattern"} & set(plan.sites):
        first = resolved.layers[0]
        alike = [index for index in heads if heads[index] == heads[first]]
        raise UserError(
            f"layers of {shown(model.name)} have different numbers of heads, and scores of one capture are of one "
            "number: "
            f"name layers that agree, such as {', '.join(map(str, alike[:8]))} with {heads[first]}"
        )


def _refuse_missing_space(plan: CapturePlan, model: LanguageModel) -> None:
    space = plan.score_space
    if space == "softmax_input":
        return
    given = set(model.family.score_spaces)
    if not getattr(model.module.config.get_text_config(), "attn_logit_softcapping", None):
        given.discard("softcapped")
    if space not in given:
        raise UserError(
            f"family {model.family.name!r} cannot give scores in the space {space!r}: "
            f"use {' or '.join(['softmax_input', *sorted(given)])}"
        )
