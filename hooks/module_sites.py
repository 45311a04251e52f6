"""Sites that are the input or the output of a module: residual streams, MLPs, the output projection of attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..errors import UserError
from ..models.layer_parts import LayerParts
from .forward_rows import ForwardRows
from .head_output import head_outputs, output_weight
from .plan import Site
from .rows import take_rows


def places_of(part: LayerParts) -> dict[Site, tuple[torch.nn.Module | None, bool]]:
    """Return at which module of a layer each such site is read, and whether it is the module's input.

    The module is None where the layer has none, or it is not known.
    """
    norm = norm_of_several(part)
    return {
        "attention_output": (part.output_projection, False),
        "head_output": (part.output_projection, True),
        "residual_before": (part.layer, True),
        "residual_middle": (part.before_mlp, True),
        "residual": (part.layer, False),
        "mlp_input": (part.mlp_input, True) if norm is None else (norm, False),
        "mlp_output": (part.mlp_output, False),
    }


def norm_of_several(part: LayerParts) -> torch.nn.Module | None:
    """Return the norm whose output experts and an MLP beside them take together as the MLP's input."""
    return part.before_mlp if part.mlp_output is None and part.mlp_input is not None else None


def listen_to_modules(rows: ForwardRows) -> Iterator[RemovableHandle]:
    """Keep what the modules of each layer are given and return, for the sites that the plan asks for.

    Yields:
        The hooks, each as soon as it is there.
    """
    for part in rows.resolved.parts:
        for site, (module, is_input) in places_of(part).items():
            if module is None or not rows.asks_for(site):
                continue
            keep = _keeping(rows, site, part)
            if is_input:
                yield module.register_forward_pre_hook(_of_input(keep), with_kwargs=True)
            else:
                yield module.register_forward_hook(_of_output(keep))


def _of_input(keep: Callable[[Any], None]) -> Callable[..., None]:
    def listen(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(args[0] if args else kwargs.get("hidden_states"))

    return listen


def _of_output(keep: Callable[[Any], None]) -> Callable[..., None]:
    def listen(module: torch.nn.Module, args: Any, output: Any) -> None:
        keep(output[0] if isinstance(output, (tuple, list)) else output)

    return listen


# Recording builds no graph: recomputing layers under gradient checkpointing must save the same tensors.
def _keeping(rows: ForwardRows, site: Site, part: LayerParts) -> Callable[[Any], None]:
    model = rows.resolved.model
    streams = model.family.stream if site in ("residual_before", "residual") else None

    @torch.no_grad()
    def keep(tensor: Any) -> None:
        wanted = rows.wanted_here
        if wanted is None or not isinstance(tensor, Tensor):
            return
        if streams is not None:
            tensor = tensor[streams]
        # OPT's MLP sees all tokens of the batch in one axis.
        tensor = tensor.view(len(wanted.rows), -1, tensor.shape[-1])
        if tensor.shape[1] != wanted.tokens:
            raise rows.of_other_shape(part, site, f"of {tensor.shape[1]} tokens")
        if site == "attention_output" and part.output_bias is not None:
            if part.output_bias.is_meta:
                raise UserError(
                    f"the bias of attention's output in layer {part.index} is offloaded: load the model on devices "
                    "that hold it whole, or leave attention_output out of the plan's sites"
                )
            tensor = tensor + part.output_bias
        taken = take_rows(tensor, wanted.on(tensor.device))
        if site == "head_output":
            taken = head_outputs(taken, output_weight(part), model.geometry_of(part.index).heads)
        rows.keep(site, part, taken)

    return keep
