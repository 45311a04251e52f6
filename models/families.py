"""The one table of where attention lives in each model family, and how W_Q, W_K and W_V are laid out.

A new family is one row here, or one call of `register_family` from outside the package. Rows that differ in nothing
but their name stand together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UserError, shown
from .family import LAYERS, PARALLEL, REGISTRY_SPACES, Family
from .middle_stream import bloom_middle, falcon_middle, neox_middle, opt_middle
from .projections import (
    decoder_geometry,
    falcon_geometry,
    falcon_layout,
    latent_geometry,
    layered_geometry,
    multi_query_geometry,
    multi_query_layout,
    nested_geometry,
    windowed_geometry,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_LLAMA = Family("llama", before_mlp="post_attention_layernorm")
_POST_NORM = replace(_LLAMA, before_mlp="mlp")
_PARALLEL = replace(_LLAMA, before_mlp=PARALLEL)
_GEMMA2 = replace(_LLAMA, before_mlp="pre_feedforward_layernorm")
_HYBRID = replace(_LLAMA, hybrid=True)
_LATENT = replace(
    _LLAMA,
    projections=("q_proj|q_b_proj", "kv_b_proj", "kv_b_proj"),
    layout="latent",
    geometry=latent_geometry,
)
_GPT2 = Family(
    "gpt2",
    ("transformer.h",),
    "attn",
    "c_proj",
    "mlp.c_proj",
    ("c_attn",),
    "thirds",
    transposed=True,
    before_mlp="ln_2",
)
_NEOX = Family(
    "gpt_neox",
    ("gpt_neox.layers",),
    "attention",
    "dense",
    "mlp.dense_4h_to_h",
    ("query_key_value",),
    "per_head",
    before_mlp=neox_middle,
)
# OPT scales its queries before they reach the registry: the unscaled product is not to be had.
_OPT = Family(
    "opt",
    ("model.decoder.layers", "language_model.model.decoder.layers"),
    output_projection="out_proj",
    mlp_output="fc2",
    mlp_input="fc1",
    before_mlp=opt_middle,
    score_spaces=frozenset({"scaled"}),
)
_BART = replace(_OPT, score_spaces=REGISTRY_SPACES, geometry=decoder_geometry, before_mlp="final_layer_norm")
_GPTJ = Family(
    "gptj",
    ("transformer.h",),
    "attn",
    "out_proj",
    "mlp.fc_out",
    route="functional",
    score_spaces=frozenset({"scaled"}),
    before_mlp=PARALLEL,
)
_BLOOM = replace(
    _NEOX,
    layers=("transformer.h",),
    attention="self_attention",
    route="functional",
    score_spaces=frozenset(),
    before_mlp=bloom_middle,
)

_SHAPES: dict[str, Family] = {
    # Laid out as Llama is, dense or with experts.
    "llama mistral qwen2 qwen3 gemma granite smollm3 olmo seed_oss gpt_oss mixtral qwen3_moe arcee aria_text"
    " cwm dots1 emu3_text_model ernie4_5 ernie4_5_moe exaone_moe flint glm glm4 glm4_moe granite_swa helium"
    " hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 kolibri1 laguna mellum"
    " minimax_m2 ministral ministral3 nanochat nemotron olmoe qwen2_moe solar_open bitnet phimoe": _LLAMA,
    "olmo2 olmo3 exaone4 flex_olmo": _POST_NORM,
    "gemma2 gemma3_text vaultgemma beam": _GEMMA2,
    "cohere cohere2 cohere2_moe": _PARALLEL,
    "stablelm": replace(_LLAMA, before_mlp=neox_middle),
    "apertus": replace(_LLAMA, before_mlp="feedforward_layernorm"),
    "afmoe": replace(_LLAMA, before_mlp="pre_mlp_layernorm"),
    # The same in models that also see or hear; a text is rotated by all sections of their rotation alike.
    "qwen2_vl_text qwen2_5_vl_text qwen2_5_omni_text qwen3_vl_text qwen3_vl_moe_text qwen3_omni_moe_text glm4v_text"
    " glm4v_moe_text glm_ocr_text granite_docling_text paddleocr_vl_text": _LLAMA,
    "muse_glimmer_text": _GEMMA2,
    "cosmos3_edge_text": replace(_LLAMA, mlp_output="mlp.fc2"),
    # Doge adds a bias to each key, and looks for its attention in a registry of its own.
    "doge": replace(_LLAMA, route="functional", score_spaces=frozenset()),
    "gemma4_text gemma4_unified_text": replace(_GEMMA2, shares_keys=True, geometry=layered_geometry),
    "gemma3n_text": replace(_LLAMA, shares_keys=True, stream=0, before_mlp=""),
    "mimo_v2_flash": replace(_LLAMA, geometry=windowed_geometry),
    "llama4_text": replace(_LLAMA, mlp_output=("feed_forward.down_proj", "feed_forward")),
    "granitemoe": replace(_LLAMA, mlp_output="block_sparse_moe"),
    # Experts and a shared MLP beside them: both are given the same, and no one module gives their sum.
    "granitemoeshared granitemoe_swa": replace(_LLAMA, mlp_output=(), mlp_input="shared_mlp"),
    "moshi": replace(
        _LLAMA,
        output_projection="o_proj.linear",
        mlp_output="mlp",
        projections=("q_proj.linear", "k_proj.linear", "v_proj.linear"),
    ),
    "phi": replace(_PARALLEL, output_projection="dense", mlp_output="mlp.fc2"),
    "persimmon": replace(_NEOX, layers=LAYERS, attention="self_attn", before_mlp="post_attention_layernorm"),
    "phi3 phi4_multimodal": replace(_LLAMA, projections=("qkv_proj",), layout="thirds"),
    "starcoder2": replace(_LLAMA, mlp_output="mlp.c_proj"),
    "modernbert-decoder": replace(
        _LLAMA, attention="attn", output_projection="Wo", mlp_output="mlp.Wo", before_mlp="mlp_norm"
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
        before_mlp="norm_attn_norm.norm_2",
    ),
    # Latent attention.
    "deepseek_v2 deepseek_v3 axk1 glm4_moe_lite minicpm3 youtu": _LATENT,
    # Between the attention layers lie layers of other kinds.
    "qwen3_next qwen3_5_text qwen3_5_moe_text": replace(_HYBRID, layout="gated"),
    "olmo_hybrid minimax": replace(_HYBRID, before_mlp="mlp"),
    "kimi_linear bailing_hybrid": replace(_LATENT, hybrid=True),
    "bamba jamba": replace(
        _HYBRID, mlp_output=("feed_forward.down_proj", "feed_forward"), before_mlp="pre_ff_layernorm"
    ),
    "falcon_h1": replace(_LLAMA, mlp_output="feed_forward", before_mlp="pre_ff_layernorm"),
    "granitemoehybrid": replace(_HYBRID, mlp_output=(), mlp_input="shared_mlp"),
    "lfm2 lfm2_moe": replace(
        _HYBRID,
        output_projection="out_proj",
        mlp_output=("feed_forward.w2", "feed_forward"),
        before_mlp="ffn_norm",
    ),
    "lfm3": replace(_HYBRID, mlp_output="feed_forward.w2", before_mlp="ffn_norm"),
    "nemotron_h": replace(_HYBRID, attention="mixer", mlp_output=(), before_mlp=""),
    "recurrent_gemma": replace(
        _HYBRID,
        attention="temporal_block",
        mlp_output="mlp_block.down_proj",
        before_mlp="channel_pre_norm",
    ),
    # Laid out as OPT is, the decoders of models with an encoder among them.
    "opt": _OPT,
    "bart blenderbot-small marian plbart": replace(_BART, before_mlp="fc1"),
    "blenderbot mbart pegasus": _BART,
    "mvp trocr": replace(_BART, route="functional", score_spaces=frozenset({"scaled"}), before_mlp="fc1"),
    "bigbird_pegasus": replace(_BART, route="functional", score_spaces=frozenset({"scaled"})),
    "biogpt": replace(
        _OPT, layers=("biogpt.layers",), score_spaces=REGISTRY_SPACES, before_mlp="final_layer_norm"
    ),
    "xglm": replace(_OPT, layers=LAYERS, route="functional", before_mlp="final_layer_norm"),
    # The GPT families.
    "gpt2 gpt-sw3": _GPT2,
    "openai-gpt": replace(_GPT2, route="functional", score_spaces=frozenset({"scaled"}), before_mlp="mlp"),
    "gpt_bigcode": replace(_GPT2, layout=multi_query_layout, transposed=False, geometry=multi_query_geometry),
    "gpt_neox": _NEOX,
    "gpt_neox_japanese": replace(
        _NEOX,
        layers=("gpt_neox_japanese.layers",),
        route="functional",
        score_spaces=frozenset({"scaled"}),
        output_bias="dense_bias",
        before_mlp="post_attention_layernorm",
    ),
    "gptj": _GPTJ,
    "codegen": replace(_GPTJ, projections=("qkv_proj",), layout="codegen"),
    # GPT-Neo does not divide by the square root of the head width: both spaces are the same.
    "gpt_neo": replace(
        _GPTJ,
        attention="attn.attention",
        mlp_output="mlp.c_proj",
        score_spaces=frozenset({"raw", "scaled"}),
        before_mlp="ln_2",
    ),
    "bloom": _BLOOM,
    "falcon": replace(
        _BLOOM,
        layout=falcon_layout,
        score_spaces=frozenset({"raw", "scaled"}),
        geometry=falcon_geometry,
        before_mlp=falcon_middle,
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
        before_mlp="norm_2",
    ),
    "ctrl": Family(
        "ctrl",
        ("transformer.h",),
        "multi_head_attention",
        "dense",
        "ffn.2",
        ("Wq", "Wk", "Wv"),
        before_mlp="layernorm2",
    ),
}
_FAMILIES = {name: replace(shape, name=name) for names, shape in _SHAPES.items() for name in names.split()}


def register_family(family: Family) -> None:
    """Add a row to the table, or replace the row of that name, for models that are loaded from now on.

    Nothing is checked here: `self_check` holds a model of that type to the row.

    Args:
        family: The row; its name is the configuration's ``model_type``.
    """
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
