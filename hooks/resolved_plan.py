"""A plan resolved against a model: once, and applied to many forwards."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError, shown
from ..models.family import PARALLEL
from ..models.layer_parts import LayerParts, absolute_layer, layers_with_attention
from ..models.loading import LanguageModel
from ..models.projections import HeadGeometry
from .head_output import refuse_other_input
from .plan import SITES, CapturePlan, Site
from .site_shapes import site_shape


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
    for part in resolved.parts:
        if "mlp_output" in plan.sites and part.mlp_output is None:
            raise UserError(
                f"layer {part.index} of {shown(model.name)} has no one module that gives its MLP output: leave "
                "mlp_output out of the plan's sites"
            )
        if "mlp_input" in plan.sites and part.mlp_input is None:
            raise UserError(
                f"layer {part.index} of {shown(model.name)} has no one module that is given its MLP's input: leave "
                "mlp_input out of the plan's sites"
            )
        if "residual_middle" in plan.sites and part.before_mlp is None:
            raise _without_middle(part, model)
        if "head_output" in plan.sites:
            refuse_other_input(part, model.geometry_of(part.index))
    _refuse_different_shapes(resolved)


def _without_middle(part: LayerParts, model: LanguageModel) -> UserError:
    family = model.family
    if family.before_mlp_of(model.module.config.get_text_config()) == PARALLEL:
        reason = "attention and MLP read one stream, so there is none between them"
    elif family.stream is not None:
        reason = "several residual streams are mixed, and none is read between attention and MLP"
    elif part.mlp_input is None:
        reason = "there is no MLP behind attention"
    else:
        reason = f"the row of family {family.name!r} does not say what stands before the MLP (before_mlp)"
    return UserError(
        f"layer {part.index} of {shown(model.name)} has no residual_middle: {reason}; leave it out of the sites"
    )


def _refuse_different_shapes(resolved: ResolvedPlan) -> None:
    """Refuse layers whose heads are unlike each other's, for the sites that one array would hold."""
    model = resolved.model
    geometries = {index: model.geometry_of(index) for index in resolved.layers}
    for site in resolved.plan.sites:
        shapes = {index: _heads_and_width(site, each, model.width) for index, each in geometries.items()}
        heads, width = shapes[resolved.layers[0]]
        if len(set(shapes.values())) == 1:
            continue
        alike = [index for index, shape in shapes.items() if shape == (heads, width)]
        same_heads = len({each for each, _ in shapes.values()}) == 1
        unit, number = ("widths of heads", "width") if same_heads else ("numbers of heads", "number")
        raise UserError(
            f"layers of {shown(model.name)} have different {unit}, and {site} of one capture are of one {number}: "
            f"name layers that agree, such as {', '.join(map(str, alike[:8]))} with {width if same_heads else heads}"
        )


def _heads_and_width(site: Site, geometry: HeadGeometry, width: int) -> tuple[int, int]:
    shape = site_shape(site, geometry, width, columns=1)
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])


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
