"""Which layers count as deep or middle, in a model of any depth, and which of them are drawn.

Shen et al. 2024 (appendix E) finetune W_V of one layer drawn from the last four of 32 (29 to 32, counted from 1),
or from the middle ones (16 to 20).
"""

from __future__ import annotations

from typing import Literal

import torch

from ..seeds import derive_seed

Depth = Literal["deep", "middle"]


def depth_candidates(n_layers: int, depth: Depth) -> tuple[int, ...]:
    """Return the layers, counted from 0, that lie deep (l/L > 0.875) or in the middle (0.5 ≤ l/L ≤ 0.625; R17).

    The fractions l/L count layers from 1, as the paper does: of 32 layers 28 to 31 are deep and 15 to 19 middle.
    A model so shallow that no layer lies in the middle has the one nearest to it there.

    Args:
        n_layers: Layers of the model, L.
        depth: Which.
    """
    layers = range(1, n_layers + 1)
    if depth == "deep":
        return tuple(layer - 1 for layer in layers if 8 * layer > 7 * n_layers)
    middle = tuple(layer - 1 for layer in layers if 4 * n_layers <= 8 * layer <= 5 * n_layers)
    return middle or (min(layers, key=lambda layer: abs(16 * layer - 9 * n_layers)) - 1,)


def draw_layers(n_layers: int, depth: Depth, repeats: int = 4, seed: int = 0) -> tuple[int, ...]:
    """Draw layers without replacement; each candidate comes once where there are no more of them than repeats.

    Args:
        n_layers: Layers of the model, L.
        depth: Where to draw from.
        repeats: How many; the paper repeats four times.
        seed: Seed of the draw.

    Returns:
        Layers counted from 0, ascending where every candidate is taken, else in the order drawn.
    """
    candidates = depth_candidates(n_layers, depth)
    if len(candidates) <= repeats:
        return candidates
    generator = torch.Generator().manual_seed(derive_seed("layers", depth, n_layers, seed))
    return tuple(
        candidates[place] for place in torch.randperm(len(candidates), generator=generator)[:repeats]
    )
