"""The one table of where attention lives in each model family, and how W_Q, W_K and W_V are laid out.

A new family is one row here, or one call of `register_family` from outside the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ..errors import UserError
from .projections import (
    HeadGeometry,
    Layout,
    Projection,
    falcon_geometry,
    falcon_layout,
    head_geometry,
    multi_query_geometry,
    multi_query_layout,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Route = Literal["registry", "functional"]
ScoreSpace = Literal["softmax_input", "raw", "scaled", "softcapped"]

_LLAMA_LAYERS = ("model.layers", "model.language_model.layers", "language_model.model.layers")
_REGISTRY_SPACES: frozenset[ScoreSpace] = frozenset({"raw", "scaled", "softcapped"})


@dataclass(frozen=True)
class Family:
    """One row of the table: where one architecture keeps what this toolkit reads.

    Attributes:
        name: The configuration's ``model_type``.
        layers: Paths under which the list of decoder layers is looked for; the first that exists is taken.
        attention: The attention module, relative to a layer.
        output_projection: The linear map whose output is the attention output, relative to the attention
            module. Not the attention module itself: Bloom's adds the residual inside.
        mlp_output: The module whose output is the MLP output, relative to a layer.
        projections: The W_Q, W_K and W_V modules relative to the attention module; one name if fused.
        layout: How the rows of a fused weight are ordered, or a function of the configuration that tells.
        transposed: Whether weights are stored ``[in, out]`` (GPT-2's Conv1D).
        route: ``registry`` where attention goes through transformers' attention registry, ``functional``
            where it calls the softmax (or ``scaled_dot_product_attention``) itself.
        score_spaces: What besides the softmax's input can be read there.
        pads: Whether a padded batch gives each prompt the scores it has alone. MPT's position bias counts
            from the end of the padded row, so its batches must hold prompts of one length.
        geometry: Head counts from the configuration.
    """

    name: str
    layers: tuple[str, ...] = _LLAMA_LAYERS
    attention: str = "self_attn"
    output_projection: str = "o_proj"
    mlp_output: str = "mlp.down_proj"
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    layout: Layout | Callable[[PretrainedConfig], Layout] = "separate"
    transposed: bool = False
    route: Route = "registry"
    score_spaces: frozenset[ScoreSpace] = _REGISTRY_SPACES
    pads: bool = True
    geometry: Callable[[PretrainedConfig], HeadGeometry] = head_geometry

    def layout_of(self, config: PretrainedConfig) -> Layout:
        """Return the row order of the weights under this configuration."""
        return self.layout(config) if callable(self.layout) else self.layout


@dataclass(frozen=True)
class LayerParts:
    """The modules of one decoder layer that captures and finetuning address.

    Attributes:
        index: The layer, counted from 0.
        layer: The whole decoder layer; its output is the residual stream after it.
        attention: The attention module.
        output_projection: The map whose output is the attention output.
        mlp_output: The module whose output is the MLP output.
        projections: The modules that hold W_Q, W_K and W_V, the same module three times if fused.
    """

    index: int
    layer: torch.nn.Module
    attention: torch.nn.Module
    output_projection: torch.nn.Module
    mlp_output: torch.nn.Module
    projections: dict[Projection, torch.nn.Module]


def _like_gpt2(
    name: str,
    mlp_output: str = "mlp.fc_out",
    attention: str = "attn",
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
    layout: Layout = "separate",
    score_spaces: frozenset[ScoreSpace] = frozenset({"scaled"}),
) -> Family:
    """Return a row of the GPT families that call the softmax themselves."""
    return Family(
        name,
        ("transformer.h",),
        attention,
        "out_proj",
        mlp_output,
        projections,
        layout,
        route="functional",
        score_spaces=score_spaces,
    )


_ROWS = [
    *(
        Family(name)
        for name in [
            *["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "stablelm"],
            *["cohere", "granite", "smollm3", "olmo", "olmo3", "cohere2", "exaone4", "seed_oss"],
        ]
    ),
    *(Family(name, mlp_output="mlp") for name in ["gpt_oss", "mixtral", "qwen3_moe"]),
    Family("phi", output_projection="dense", mlp_output="mlp.fc2"),
    Family("phi3", projections=("qkv_proj",), layout="thirds"),
    Family("starcoder2", mlp_output="mlp.c_proj"),
    # OPT scales its queries before they reach the registry: the unscaled product is not to be had.
    Family(
        "opt",
        ("model.decoder.layers",),
        output_projection="out_proj",
        mlp_output="fc2",
        score_spaces=frozenset({"scaled"}),
    ),
    Family(
        "gpt2",
        ("transformer.h",),
        "attn",
        "c_proj",
        "mlp.c_proj",
        ("c_attn",),
        "thirds",
        transposed=True,
    ),
    Family(
        "gpt_bigcode",
        ("transformer.h",),
        "attn",
        "c_proj",
        "mlp.c_proj",
        ("c_attn",),
        multi_query_layout,
        geometry=multi_query_geometry,
    ),
    Family(
        "gpt_neox",
        ("gpt_neox.layers",),
        "attention",
        "dense",
        "mlp.dense_4h_to_h",
        ("query_key_value",),
        "per_head",
    ),
    _like_gpt2("gptj"),
    _like_gpt2("codegen", projections=("qkv_proj",), layout="codegen"),
    # GPT-Neo does not divide by the square root of the head width: both spaces are the same.
    _like_gpt2("gpt_neo", "mlp.c_proj", "attn.attention", score_spaces=frozenset({"raw", "scaled"})),
    Family(
        "xglm",
        output_projection="out_proj",
        mlp_output="fc2",
        route="functional",
        score_spaces=frozenset({"scaled"}),
    ),
    Family(
        "bloom",
        ("transformer.h",),
        "self_attention",
        "dense",
        "mlp.dense_4h_to_h",
        ("query_key_value",),
        "per_head",
        route="functional",
        score_spaces=frozenset(),
    ),
    Family(
        "mpt",
        ("transformer.blocks",),
        "attn",
        "out_proj",
        "ffn.down_proj",
        ("Wqkv",),
        "thirds",
        route="functional",
        score_spaces=frozenset(),
        pads=False,
    ),
    Family(
        "falcon",
        ("transformer.h",),
        "self_attention",
        "dense",
        "mlp.dense_4h_to_h",
        ("query_key_value",),
        falcon_layout,
        route="functional",
        score_spaces=frozenset({"raw", "scaled"}),
        geometry=falcon_geometry,
    ),
]
_FAMILIES = {family.name: family for family in _ROWS}


def register_family(family: Family) -> None:
    """Add a row to the table, or replace the row of that name."""
    _FAMILIES[family.name] = family


def family_names() -> tuple[str, ...]:
    """Return the names of all rows, sorted."""
    return tuple(sorted(_FAMILIES))


def resolve_family(config: PretrainedConfig) -> Family:
    """Return the row of a model's configuration.

    Raises:
        UserError: If the table has no row of that ``model_type``.
    """
    name = config.get_text_config().model_type
    if name not in _FAMILIES:
        raise UserError(
            f"model family {name!r} has no row in the table (it has {', '.join(family_names())}): "
            "describe it with iclprobe.register_family(iclprobe.Family(...))"
        )
    return _FAMILIES[name]


def layer_parts(model: PreTrainedModel, family: Family) -> tuple[LayerParts, ...]:
    """Find the modules of every decoder layer.

    Raises:
        UserError: If a path of the family's row does not exist in this model.
    """
    names = {name for name, _ in model.named_modules()}
    path = next((path for path in family.layers if path in names), None)
    if path is None:
        raise UserError(
            f"{type(model).__name__} has no layers at {' or '.join(family.layers)}, where the row of family "
            f"{family.name!r} looks for them: correct it with iclprobe.register_family(...)"
        )
    layers = model.get_submodule(path).children()
    return tuple(_parts_of_layer(model, family, index, layer) for index, layer in enumerate(layers))


def _parts_of_layer(model: PreTrainedModel, family: Family, index: int, layer: torch.nn.Module) -> LayerParts:
    try:
        attention = layer.get_submodule(family.attention)
        names = family.projections * (3 // len(family.projections))
        query, key, value = (attention.get_submodule(name) for name in names)
        return LayerParts(
            index=index,
            layer=layer,
            attention=attention,
            output_projection=attention.get_submodule(family.output_projection),
            mlp_output=layer.get_submodule(family.mlp_output),
            projections={"query": query, "key": key, "value": value},
        )
    except AttributeError as error:
        raise UserError(
            f"layer {index} of {type(model).__name__} does not match the row of family {family.name!r} "
            f"({error}): correct it with iclprobe.register_family(...)"
        ) from error
