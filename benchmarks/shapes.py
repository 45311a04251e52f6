"""Every shape at which something is measured: what the model is like, and what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

VOCABULARY = 8192


@dataclass(frozen=True)
class Shape:
    """A Llama in fp32, drawn at random, and queries of random tokens behind one prefix.

    Attributes:
        layers: Decoder layers.
        width: Of the residual stream; the MLP is four times as wide, heads have 64 entries.
        prefix: Tokens that all queries share.
        query: Tokens of each query.
        queries: How many.
        batch: Prompts that run at once.
    """

    layers: int = 8
    width: int = 512
    prefix: int = 1000
    query: int = 40
    queries: int = 500
    batch: int = 16

    @property
    def model_text(self) -> str:
        """What the model is."""
        return f"Llama, {self.layers} layers × {self.width}, MLP {4 * self.width}, fp32"

    @property
    def prompts_text(self) -> str:
        """What it is asked."""
        return f"{self.queries} queries of {self.query} tokens behind {self.prefix}"

    def asking(self, queries: int, batch: int | None = None) -> Shape:
        """Return the same shape with other queries."""
        return replace(self, queries=queries, batch=batch or self.batch)


USUAL = Shape()
"""What every claim is about."""
TINY = Shape(layers=2, width=128, prefix=24, query=8, queries=6, batch=2)
"""To see within seconds that everything runs."""


def axes_around(shape: Shape) -> dict[str, dict[int, Shape]]:
    """Return what is varied, one thing at a time, around a shape: for each size of each axis the shape."""
    varied = {
        "prefix": [shape.prefix // 4, shape.prefix, 2 * shape.prefix],
        "query": [shape.query // 4, shape.query, 4 * shape.query],
        "batch": [1, *(size for size in (4, 16, 64) if size <= shape.queries)],
        "width": [shape.width // 2, shape.width, 2 * shape.width],
    }
    return {
        AXES[name]: {size: replace(shape, **{name: size}) for size in sizes} for name, sizes in varied.items()
    }


AXES: Mapping[str, str] = {
    "prefix": "tokens of the prefix",
    "query": "tokens of a query",
    "batch": "prompts at once",
    "width": "width of the model",
}
