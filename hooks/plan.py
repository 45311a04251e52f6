"""What to record: declared once, resolved against a model once, applied to many forwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from ..errors import UserError, shown
from ..models.families import ScoreSpace
from ..models.layer_parts import LayerParts, absolute_layer, layers_with_attention
from ..models.loading import LanguageModel
from ..on_command_line import OnCommandLine, same_text
from ..settings import Layer, Settings

Site = Literal["attention_output", "scores", "pattern", "residual", "mlp_output"]
SITES: tuple[Site, ...] = ("attention_output", "scores", "pattern", "residual", "mlp_output")
NamedPosition = Literal["last_prompt_token", "first_label_token", "all"]

_FAR = 100_000
_Position = Annotated[int, Field(ge=-10_000_000, le=10_000_000)]


def _as_tuple(value: Any) -> Any:
    """Let one site or position stand for itself, and accept lists."""
    if isinstance(value, str) and value in SITES:
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _as_layers(value: Any) -> Any:
    """Turn ``"0:6:2"`` into a slice and ``"0,3,-1"`` or a list into a tuple."""
    if isinstance(value, str):
        try:
            if ":" in value:
                value = slice(*(int(part) if part.strip() else None for part in value.split(":")))
            else:
                value = tuple(int(part) for part in value.split(","))
        except (TypeError, ValueError) as error:
            raise ValueError("layers are numbers like 0,3,-1 or a slice like 4:8") from error
    if isinstance(value, slice):
        return _bounded(value)
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | range) else value


def _bounded(layers: slice) -> slice:
    parts = (layers.start, layers.stop, layers.step)
    if layers.step == 0 or any(part is not None and not -_FAR <= part <= _FAR for part in parts):
        raise ValueError("a slice of layers takes steps other than 0 between layers that a model may have")
    return layers


class CapturePlan(Settings):
    """What to record of a forward.

    Attributes:
        sites: ``attention_output`` (after the output projection, before any norm and the residual),
            ``scores`` (pre-softmax), ``pattern`` (post-softmax, normalised over all visible keys),
            ``residual`` (the stream after the layer), ``mlp_output``.
        layers: Which layers; negative ones count from the end. None is all.
        positions: The tokens whose rows are recorded: ``last_prompt_token``, whose next-token distribution is
            the prediction (R1); ``first_label_token``, the first option's first label token appended to the
            prompt, as the reference code does; ``all`` query tokens; or indices into the query's tokens.
            Named single positions give arrays without a position axis.
        columns: The keys recorded: the ``query``'s tokens, or ``all`` tokens with the demonstrations.
        score_space: ``softmax_input`` is exactly what the softmax sees, softcap and position bias included;
            ``raw`` is the product of query and key, ``scaled`` after the scaling, ``softcapped`` after the
            softcap and before any bias.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    sites: Annotated[tuple[Site, ...], BeforeValidator(_as_tuple)] = ("attention_output", "scores")
    layers: Annotated[
        tuple[Layer, ...] | slice | None, BeforeValidator(_as_layers), OnCommandLine(read=same_text)
    ] = None
    positions: Annotated[
        NamedPosition | tuple[_Position, ...], BeforeValidator(_as_tuple), OnCommandLine(("--position",))
    ] = "last_prompt_token"
    columns: Literal["query", "all"] = "query"
    score_space: ScoreSpace = "softmax_input"

    @property
    def single_position(self) -> bool:
        """Whether arrays have no position axis."""
        return self.positions in ("last_prompt_token", "first_label_token")


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
