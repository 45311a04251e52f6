"""How the rows of attention weights are laid out: which of them are W_Q, W_K and W_V, head by head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Layout = Literal["separate", "thirds", "per_head", "grouped", "codegen", "gated", "latent"]
Projection = Literal["query", "key", "value"]


@dataclass(frozen=True)
class HeadGeometry:
    """How many heads a model's attention has, and how wide they are.

    Attributes:
        heads: Query heads H.
        key_value_heads: Key and value heads; fewer than H under grouped-query and multi-query attention.
        head_width: Entries of one query head.
        key_width: Entries of one head in W_K where they are others: under latent attention the rotated part of a
            key comes from elsewhere and is one for all heads.
        value_width: Entries of one value head where they are others.
    """

    heads: int
    key_value_heads: int
    head_width: int
    key_width: int | None = None
    value_width: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts that no attention can have."""
        if min(self.heads, self.key_value_heads, self.head_width) < 1 or self.heads % self.key_value_heads:
            raise ValueError(
                f"there can be no {self.heads} heads of width {self.head_width} over {self.key_value_heads} "
                "key and value heads"
            )

    @property
    def sizes(self) -> dict[Literal["query", "key", "value", "output"], int]:
        """Rows of W_Q, W_K and W_V, and columns of W_O."""
        value = self.value_width or self.head_width
        return {
            "query": self.heads * self.head_width,
            "key": self.key_value_heads * (self.key_width or self.head_width),
            "value": self.key_value_heads * value,
            "output": self.heads * value,
        }


def head_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts and widths of a layer as most configurations spell them."""
    per_layer = getattr(config, "num_attention_heads_per_layer", None)
    heads = per_layer[layer] if per_layer else config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return HeadGeometry(heads, shared, width, value_width=getattr(config, "v_head_dim", None))


def latent_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts and widths of latent attention, in which every head has keys and values of its own."""
    heads = config.num_attention_heads
    plain, rotated = config.qk_nope_head_dim, config.qk_rope_head_dim
    return HeadGeometry(heads, heads, plain + rotated, key_width=plain, value_width=config.v_head_dim)


def decoder_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts of the decoder of a model that has an encoder besides."""
    heads = config.decoder_attention_heads
    return HeadGeometry(heads, heads, config.hidden_size // heads)


def layered_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts where the configuration has one part a layer (Gemma 4)."""
    own = config.per_layer_config[layer]
    return HeadGeometry(config.num_attention_heads, own.num_key_value_heads, own.head_dim)


def windowed_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts where layers with a sliding window have twice the key and value heads (MiMo)."""
    twice = 2 if config.layer_types[layer] == "sliding_attention" else 1
    heads, shared = config.num_attention_heads, config.num_key_value_heads * twice
    return HeadGeometry(heads, shared, config.head_dim, value_width=config.v_head_dim)


def nested_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts where a part of the configuration describes attention (DBRX)."""
    return HeadGeometry(config.n_heads, config.attn_config.kv_n_heads, config.d_model // config.n_heads)


def multi_query_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts where ``multi_query`` says whether keys and values have one head (GPT-BigCode)."""
    heads = config.num_attention_heads
    return HeadGeometry(heads, 1 if config.multi_query else heads, config.hidden_size // heads)


def multi_query_layout(config: PretrainedConfig) -> Layout:
    """Return GPT-BigCode's row order: whole blocks with one key and value head, else head by head."""
    return "thirds" if config.multi_query else "per_head"


def falcon_geometry(config: PretrainedConfig, layer: int = 0) -> HeadGeometry:
    """Read head counts of Falcon's three kinds of attention."""
    if config.new_decoder_architecture:
        heads = config.num_attention_heads
        return HeadGeometry(heads, config.num_kv_heads, config.hidden_size // heads)
    return multi_query_geometry(config)


def falcon_layout(config: PretrainedConfig) -> Layout:
    """Return the row order of Falcon's three kinds of attention."""
    return "grouped" if config.new_decoder_architecture else multi_query_layout(config)


def projection_rows(layout: Layout, geometry: HeadGeometry) -> dict[Projection, torch.Tensor]:
    """Return which rows of a weight's output dimension are W_Q, W_K and W_V.

    The rows of each projection come head by head, in the order of the heads; a bias is indexed alike. With
    the layout ``separate`` every projection has all rows of its own module.

    Args:
        layout: ``separate`` modules; ``thirds``, blocks of all query, key and value rows; ``per_head``,
            query, key and value of each head in turn; ``grouped``, for each key-value head its query heads,
            key and value; ``codegen``, four blocks of query, value and key; ``gated``, separate modules of which
            the first has for each head its query and a gate; ``latent``, one module of queries and one that has
            for each head its key (without the rotated part) and value.
        geometry: Head counts and widths.

    Returns:
        For each projection its row indices, ``[heads * width]`` with its own heads and width.
    """
    heads, shared, width = geometry.heads, geometry.key_value_heads, geometry.head_width
    sizes = [geometry.sizes["query"], geometry.sizes["key"], geometry.sizes["value"]]
    if layout in ("separate", "gated", "latent"):
        query, key, value = (torch.arange(size) for size in sizes)
        if layout == "gated":
            query = torch.arange(2 * sizes[0]).view(heads, 2, width)[:, 0]
        elif layout == "latent":
            both = torch.arange(sizes[1] + sizes[2]).view(shared, -1)
            key, value = both.split([geometry.key_width or width, geometry.value_width or width], dim=1)
        return {"query": query.reshape(-1), "key": key.reshape(-1), "value": value.reshape(-1)}
    rows = torch.arange(sum(sizes))
    if layout == "thirds":
        query, key, value = rows.split(sizes)
    elif layout == "per_head":
        query, key, value = rows.view(heads, 3, width).unbind(1)
    elif layout == "grouped":
        groups = rows.view(shared, heads // shared + 2, width)
        query, key, value = groups[:, :-2], groups[:, -2], groups[:, -1]
    else:
        # CodeGen keeps the four shards of the hardware it was trained on, each ordered query, value, key.
        query, value, key = rows.view(4, 3, -1).unbind(1)
    return {"query": query.reshape(-1), "key": key.reshape(-1), "value": value.reshape(-1)}


def stored_rows(layout: Layout, geometry: HeadGeometry) -> dict[Projection, int]:
    """Return how many rows the weight that holds each projection has, rows of other things included."""
    query, key, value = (geometry.sizes[name] for name in ("query", "key", "value"))
    if layout == "separate":
        return {"query": query, "key": key, "value": value}
    if layout == "gated":
        return {"query": 2 * query, "key": key, "value": value}
    if layout == "latent":
        return {"query": query, "key": key + value, "value": key + value}
    return dict.fromkeys(("query", "key", "value"), query + key + value)
