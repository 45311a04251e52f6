"""How the rows of attention weights are laid out: which of them are W_Q, W_K and W_V, head by head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Layout = Literal["separate", "thirds", "per_head", "grouped", "codegen"]
Projection = Literal["query", "key", "value"]


@dataclass(frozen=True)
class HeadGeometry:
    """How many heads a model's attention has, and how wide they are.

    Attributes:
        heads: Query heads H.
        key_value_heads: Key and value heads; fewer than H under grouped-query and multi-query attention.
        head_width: Entries of one head.
    """

    heads: int
    key_value_heads: int
    head_width: int

    def __post_init__(self) -> None:
        """Refuse counts that no attention can have."""
        if min(self.heads, self.key_value_heads, self.head_width) < 1 or self.heads % self.key_value_heads:
            raise ValueError(
                f"there can be no {self.heads} heads of width {self.head_width} over {self.key_value_heads} "
                "key and value heads"
            )


def head_geometry(config: PretrainedConfig) -> HeadGeometry:
    """Read head counts and width as most configurations spell them."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return HeadGeometry(heads, getattr(config, "num_key_value_heads", None) or heads, width)


def multi_query_geometry(config: PretrainedConfig) -> HeadGeometry:
    """Read head counts where ``multi_query`` says whether keys and values have one head (GPT-BigCode)."""
    heads = config.num_attention_heads
    return HeadGeometry(heads, 1 if config.multi_query else heads, config.hidden_size // heads)


def multi_query_layout(config: PretrainedConfig) -> Layout:
    """Return GPT-BigCode's row order: whole blocks with one key and value head, else head by head."""
    return "thirds" if config.multi_query else "per_head"


def falcon_geometry(config: PretrainedConfig) -> HeadGeometry:
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
            key and value; ``codegen``, four blocks of query, value and key.
        geometry: Head counts and width.

    Returns:
        For each projection its row indices, ``[heads * head_width]`` with its own number of heads.
    """
    heads, shared, width = geometry.heads, geometry.key_value_heads, geometry.head_width
    sizes = [heads * width, shared * width, shared * width]
    if layout == "separate":
        query, key, value = (torch.arange(size) for size in sizes)
        return {"query": query, "key": key, "value": value}
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
