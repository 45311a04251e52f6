"""Sites that are the input or the output of a module, written: streams, MLPs, the output projection of attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .head_output import head_outputs, output_weight
from .module_sites import norm_of_several, places_of
from .plan import Site
from .resolved_plan import ResolvedPlan
from .row_writer import RowWriter

_Change = Callable[[Tensor], Tensor]


def write_at_modules(writer: RowWriter) -> Iterator[RemovableHandle]:
    """Write what the modules of each layer are given and return, for the sites that the plan asks for.

    Yields:
        The hooks, each as soon as it is there.
    """
    for part in writer.resolved.parts:
        if writer.asks_for("head_output"):
            yield part.output_projection.register_forward_hook(_heads(writer, part), with_kwargs=True)
        for site, (module, is_input) in places_of(part).items():
            if module is None or site == "head_output" or not writer.asks_for(site):
                continue
            change = _changing(writer, site, part)
            if is_input:
                yield module.register_forward_pre_hook(_input(change), with_kwargs=True)
            else:
                yield module.register_forward_hook(_output(change))


def refuse_unwritable(resolved: ResolvedPlan) -> None:
    """Refuse a plan's sites that can be read and not written.

    Raises:
        UserError: If there is one.
    """
    plan = resolved.plan
    if "scores" in plan.sites and plan.score_space != "softmax_input":
        raise UserError(
            f"scores are written as the softmax is given them, not in the space {plan.score_space!r}: take score "
            "space softmax_input"
        )
    for part in resolved.parts if "mlp_input" in plan.sites else ():
        if part.mlp_output is None and norm_of_several(part) is None:
            raise UserError(
                f"mlp_input of layer {part.index} goes to several modules, and no norm before them is known: "
                "leave it out of the sites, or name the norm in the family's row (before_mlp)"
            )


def _input(change: _Change) -> Callable[..., Any]:
    def write(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs.get("hidden_states")
        if not isinstance(given, Tensor):
            return None
        new = change(given)
        return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})

    return write


def _output(change: _Change) -> Callable[..., Any]:
    def write(module: torch.nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, (tuple, list)):
            first, *others = output
            return type(output)((change(first), *others)) if isinstance(first, Tensor) else output
        return change(output) if isinstance(output, Tensor) else output

    return write


def _changing(writer: RowWriter, site: Site, part: LayerParts) -> _Change:
    stream = writer.resolved.model.family.stream if site in ("residual_before", "residual") else None
    # The sum goes on into the norm and, the very same tensor, past the MLP: both have to see what is written.
    in_place = site == "residual_middle"
    bias = part.output_bias if site == "attention_output" else None

    def change(tensor: Tensor) -> Tensor:
        wanted = writer.wanted_here
        if wanted is None:
            return tensor
        single = tensor if stream is None else tensor[stream]
        # OPT's MLP sees all tokens of the batch in one axis.
        by_token = single.view(len(wanted.rows), -1, single.shape[-1])
        if by_token.shape[1] != wanted.tokens:
            raise writer.of_other_shape(part, site, f"of {by_token.shape[1]} tokens")
        rows = writer.rows_of(by_token)
        computed = rows if bias is None else rows + bias
        new = writer.value(site, part, computed)
        if bias is not None:
            new = torch.where(new == computed, rows, new - bias)
        written = writer.put(by_token, new, in_place=in_place)
        if in_place:
            return tensor
        written = written.view(single.shape)
        return written if stream is None else tensor.select_scatter(written, 0, stream)

    return change


def _heads(writer: RowWriter, part: LayerParts) -> Callable[..., Any]:
    """Add what the heads' outputs change by: a head can be written what its own weight could not make of anything."""
    heads = writer.resolved.model.geometry_of(part.index).heads

    def write(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Any:
        wanted = writer.wanted_here
        if wanted is None:
            return None
        given: Tensor = args[0] if args else kwargs["hidden_states"]
        given = given.view(len(wanted.rows), -1, given.shape[-1])
        if given.shape[1] != wanted.tokens:
            raise writer.of_other_shape(part, "head_output", f"of {given.shape[1]} tokens")
        computed = head_outputs(writer.rows_of(given), output_weight(part), heads)
        new = writer.value("head_output", part, computed)
        by_token = output.view(len(wanted.rows), -1, output.shape[-1])
        added = (new - computed).sum(dim=2)
        return writer.put(by_token, writer.rows_of(by_token).float() + added).view(output.shape)

    return write
