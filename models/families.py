"""The one table of where attention lives in each model family, and how W_Q, W_K and W_V are laid out.

A new family is one row here, or one call of `register_family` from outside the package. Rows that differ in nothing
but their name stand together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..errors import UserError, shown
from .projections import (
    HeadGeometry,
    Layout,
    decoder_geometry,
    falcon_geometry,
    falcon_layout,
    head_geometry,
    latent_geometry,
    layered_geometry,
    multi_query_geometry,
    multi_query_layout,
    nested_geometry,
    windowed_geometry,
)
from .score_spaces import ScoreSpace

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Route = Literal["registry", "functional"]

# Where decoder layers lie in a model of text alone, and in the text decoder of one that also sees or hears.
_MODELS = ("model", "model.language_model", "language_model.model", "model.text_model")
_LAYERS = tuple(f"{model}.layers" for model in _MODELS)
_DENSE_OR_EXPERTS = ("mlp.down_proj", "mlp")
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
        mlp_output: Modules whose output is the MLP output, relative to a layer; the first that exists in the layer
            is taken, for layers may be dense or have experts. Empty where such a layer has no MLP.
        projections: The W_Q, W_K and W_V modules relative to the attention module; one name if fused. ``|`` stands
            between names of which a model has one. Under latent attention the maps that lead out of the latent
            vectors.
        layout: How the rows of the weights are ordered, or a function of the configuration that tells.
        transposed: Whether weights are stored ``[in, out]`` (GPT-2's Conv1D).
        route: ``registry`` where attention goes through transformers' attention registry, ``functional``
            where it calls the softmax (or ``scaled_dot_product_attention``) itself.
        score_spaces: What besides the softmax's input can be read there.
        pads: Whether a padded batch gives each prompt the scores it has alone. MPT's position bias counts
            from the end of the padded row, so its batches must hold prompts of one length.
        hybrid: Whether there may be layers of another kind between (linear attention, state space, MLP alone).
        shares_keys: Whether there may be layers without W_K and W_V, which take those of a layer below.
        geometry: Head counts and widths from the configuration and the layer's number.
        output_bias: A bias of the output projection that the attention module holds as a parameter of its own.
        stream: Which of several residual streams, where layers hand on ``[streams, B, S, d]``, is the one they read.
        derived: Whether the row was read off a model's modules, and held by a self-check of that model.
    """

    name: str
    layers: tuple[str, ...] = _LAYERS
    attention: str = "self_attn"
    output_projection: str = "o_proj"
    mlp_output: str | tuple[str, ...] = _DENSE_OR_EXPERTS
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    layout: Layout | Callable[[PretrainedConfig], Layout] = "separate"
    transposed: bool = False
    route: Route = "registry"
    score_spaces: frozenset[ScoreSpace] = _REGISTRY_SPACES
    pads: bool = True
    hybrid: bool = False
    shares_keys: bool = False
    geometry: Callable[[PretrainedConfig, int], HeadGeometry] = head_geometry
    output_bias: str = ""
    stream: int | None = None
    derived: bool = False

    @property
    def label(self) -> str:
        """Its name, and that it was derived if it was."""
        return f"{self.name} (derived)" if self.derived else self.name

    def layout_of(self, config: PretrainedConfig) -> Layout:
        """Return the row order of the weights under this configuration."""
        return self.layout(config) if callable(self.layout) else self.layout

    @property
    def projection_names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """What the modules of W_Q, W_K and W_V may be called, relative to the attention module."""
        query, key, value = self.projections * (3 // len(self.projections))
        return tuple(query.split("|")), tuple(key.split("|")), tuple(value.split("|"))

    @property
    def mlp_outputs(self) -> tuple[str, ...]:
        """What the module of the MLP output may be called, relative to a layer."""
        return (self.mlp_output,) if isinstance(self.mlp_output, str) else self.mlp_output


_LLAMA = Family("llama")
_HYBRID = replace(_LLAMA, hybrid=True)
_LATENT = replace(
    _LLAMA,
    projections=("q_proj|q_b_proj", "kv_b_proj", "kv_b_proj"),
    layout="latent",
    geometry=latent_geometry,
)
_GPT2 = Family(
    "gpt2", ("transformer.h",), "attn", "c_proj", "mlp.c_proj", ("c_attn",), "thirds", transposed=True
)
_NEOX = Family(
    "gpt_neox",
    ("gpt_neox.layers",),
    "attention",
    "dense",
    "mlp.dense_4h_to_h",
    ("query_key_value",),
    "per_head",
)
# OPT scales its queries before they reach the registry: the unscaled product is not to be had.
_OPT = Family(
    "opt",
    ("model.decoder.layers", "language_model.model.decoder.layers"),
    output_projection="out_proj",
    mlp_output="fc2",
    score_spaces=frozenset({"scaled"}),
)
_GPTJ = Family(
    "gptj",
    ("transformer.h",),
    "attn",
    "out_proj",
    "mlp.fc_out",
    route="functional",
    score_spaces=frozenset({"scaled"}),
)
_BLOOM = replace(
    _NEOX,
    layers=("transformer.h",),
    attention="self_attention",
    route="functional",
    score_spaces=frozenset(),
)

_SHAPES: dict[str, Family] = {
    # Laid out as Llama is, dense or with experts.
    "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text olmo2 stablelm cohere granite smollm3 olmo olmo3 cohere2"
    " exaone4 seed_oss gpt_oss mixtral qwen3_moe apertus arcee aria_text cohere2_moe cwm dots1 emu3_text_model"
    " ernie4_5 ernie4_5_moe exaone_moe flex_olmo flint glm glm4 glm4_moe granite_swa helium"
    " hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 kolibri1 laguna mellum"
    " minimax_m2 ministral ministral3 nanochat nemotron olmoe qwen2_moe solar_open vaultgemma afmoe beam bitnet"
    " phimoe": _LLAMA,
    # The same in models that also see or hear; a text is rotated by all sections of their rotation alike.
    "qwen2_vl_text qwen2_5_vl_text qwen2_5_omni_text qwen3_vl_text qwen3_vl_moe_text qwen3_omni_moe_text glm4v_text"
    " glm4v_moe_text glm_ocr_text granite_docling_text paddleocr_vl_text muse_glimmer_text": _LLAMA,
    "cosmos3_edge_text": replace(_LLAMA, mlp_output="mlp.fc2"),
    # Doge adds a bias to each key, and looks for its attention in a registry of its own.
    "doge": replace(_LLAMA, route="functional", score_spaces=frozenset()),
    "gemma4_text gemma4_unified_text": replace(_LLAMA, shares_keys=True, geometry=layered_geometry),
    "gemma3n_text": replace(_LLAMA, shares_keys=True, stream=0),
    "mimo_v2_flash": replace(_LLAMA, geometry=windowed_geometry),
    "llama4_text": replace(_LLAMA, mlp_output=("feed_forward.down_proj", "feed_forward")),
    "granitemoe": replace(_LLAMA, mlp_output="block_sparse_moe"),
    # Experts and a shared MLP beside them: no one module gives their sum.
    "granitemoeshared granitemoe_swa": replace(_LLAMA, mlp_output=()),
    "moshi": replace(
        _LLAMA,
        output_projection="o_proj.linear",
        mlp_output="mlp",
        projections=("q_proj.linear", "k_proj.linear", "v_proj.linear"),
    ),
    "phi": replace(_LLAMA, output_projection="dense", mlp_output="mlp.fc2"),
    "persimmon": replace(
        _NEOX, layers=_LAYERS, attention="self_attn", mlp_output="mlp.dense_4h_to_h", geometry=head_geometry
    ),
    "phi3 phi4_multimodal": replace(_LLAMA, projections=("qkv_proj",), layout="thirds"),
    "starcoder2": replace(_LLAMA, mlp_output="mlp.c_proj"),
    "modernbert-decoder": replace(
        _LLAMA, attention="attn", output_projection="Wo", mlp_output="mlp.Wo", geometry=head_geometry
    ),
    "dbrx": Family(
        "dbrx",
        ("transformer.blocks",),
        "norm_attn_norm.attn",
        "out_proj",
        "ffn",
        ("Wqkv",),
        "thirds",
        geometry=nested_geometry,
    ),
    # Latent attention.
    "deepseek_v2 deepseek_v3 axk1 glm4_moe_lite minicpm3 youtu": _LATENT,
    # Between the attention layers lie layers of other kinds.
    "qwen3_next qwen3_5_text qwen3_5_moe_text": replace(_HYBRID, layout="gated"),
    "olmo_hybrid minimax": _HYBRID,
    "kimi_linear bailing_hybrid": replace(_LATENT, hybrid=True),
    "bamba jamba": replace(_HYBRID, mlp_output=("feed_forward.down_proj", "feed_forward")),
    "falcon_h1": replace(_LLAMA, mlp_output="feed_forward"),
    "granitemoehybrid": replace(_HYBRID, mlp_output=()),
    "lfm2 lfm2_moe": replace(
        _HYBRID, output_projection="out_proj", mlp_output=("feed_forward.w2", "feed_forward")
    ),
    "lfm3": replace(_HYBRID, mlp_output="feed_forward.w2"),
    "nemotron_h": replace(_HYBRID, attention="mixer", mlp_output=()),
    "recurrent_gemma": replace(_HYBRID, attention="temporal_block", mlp_output="mlp_block.down_proj"),
    # Laid out as OPT is, the decoders of models with an encoder among them.
    "opt": _OPT,
    "bart blenderbot blenderbot-small marian mbart pegasus plbart": replace(
        _OPT, score_spaces=_REGISTRY_SPACES, geometry=decoder_geometry
    ),
    "bigbird_pegasus mvp trocr": replace(_OPT, route="functional", geometry=decoder_geometry),
    "biogpt": replace(_OPT, layers=("biogpt.layers",), score_spaces=_REGISTRY_SPACES),
    "xglm": replace(_OPT, layers=_LAYERS, route="functional"),
    # The GPT families.
    "gpt2 gpt-sw3": _GPT2,
    "openai-gpt": replace(_GPT2, route="functional", score_spaces=frozenset({"scaled"})),
    "gpt_bigcode": replace(_GPT2, layout=multi_query_layout, transposed=False, geometry=multi_query_geometry),
    "gpt_neox": _NEOX,
    "gpt_neox_japanese": replace(
        _NEOX,
        layers=("gpt_neox_japanese.layers",),
        route="functional",
        score_spaces=frozenset({"scaled"}),
        output_bias="dense_bias",
    ),
    "gptj": _GPTJ,
    "codegen": replace(_GPTJ, projections=("qkv_proj",), layout="codegen"),
    # GPT-Neo does not divide by the square root of the head width: both spaces are the same.
    "gpt_neo": replace(
        _GPTJ,
        attention="attn.attention",
        mlp_output="mlp.c_proj",
        score_spaces=frozenset({"raw", "scaled"}),
    ),
    "bloom": _BLOOM,
    "falcon": replace(
        _BLOOM, layout=falcon_layout, score_spaces=frozenset({"raw", "scaled"}), geometry=falcon_geometry
    ),
    "mpt": replace(
        _BLOOM,
        layers=("transformer.blocks",),
        attention="attn",
        output_projection="out_proj",
        mlp_output="ffn.down_proj",
        projections=("Wqkv",),
        layout="thirds",
        pads=False,
    ),
    "ctrl": Family("ctrl", ("transformer.h",), "multi_head_attention", "dense", "ffn.2", ("Wq", "Wk", "Wv")),
}
_FAMILIES = {name: replace(shape, name=name) for names, shape in _SHAPES.items() for name in names.split()}


def register_family(family: Family) -> None:
    """Add a row to the table, or replace the row of that name."""
    _FAMILIES[family.name] = family


def family_names() -> tuple[str, ...]:
    """Return the names of all rows, sorted."""
    return tuple(sorted(_FAMILIES))


def model_type_of(config: PretrainedConfig) -> str:
    """Return the ``model_type`` of a configuration's text decoder.

    Raises:
        UserError: If it has several that could be meant.
    """
    try:
        return str(config.get_text_config().model_type)
    except ValueError as error:
        raise UserError(
            f"model type {shown(config.model_type)} holds several text models: give the decoder by itself"
        ) from error


def resolve_family(config: PretrainedConfig) -> Family:
    """Return the row of a model's configuration.

    Raises:
        UserError: If the table has no row of that ``model_type``.
    """
    family = listed_family(config)
    if family is None:
        raise UserError(
            f"model type {shown(model_type_of(config))} has no row in the table of families (iclprobe families lists "
            "them): describe it with iclprobe.register_family(iclprobe.Family(...))"
        )
    return family


def listed_family(config: PretrainedConfig) -> Family | None:
    """Return the row of a model's configuration, or None where the table has none."""
    return _FAMILIES.get(model_type_of(config))
