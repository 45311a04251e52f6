"""Where attention goes: the share of a row of the attention pattern on groups of tokens, beside an even row's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors, hold_tensors
from .vectors import as_float64


@dataclass(frozen=True, eq=False)
class AttentionShares:
    """The shares of rows of attention on G groups of tokens, which may overlap.

    Attributes:
        shares: `[N, L, H, G]` what the row puts on the group. Groups that hold every visible token once add up to
            one, or to less in a model whose heads also attend to a sink that is no token.
        uniform: `[N, L, H or 1, G]` the share of a row that is even over all visible tokens.
    """

    shares: Tensor
    uniform: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        hold_tensors(self, "shares", "uniform")
        fits = self.uniform.shape[2] in (1, self.shares.shape[2])
        if not fits or self.shares.shape[:2] + self.shares.shape[3:] != (
            self.uniform.shape[:2] + self.uniform.shape[3:]
        ):
            raise ValueError(
                f"shares {tuple(self.shares.shape)} do not fit uniform {tuple(self.uniform.shape)}"
            )


def attention_shares(pattern: ArrayLike, visible: ArrayLike, groups: ArrayLike) -> AttentionShares:
    """Return how much of each row of a pattern lies on each group of tokens.

    Args:
        pattern: `[N, L, H, Q]` post-softmax attention of one row a prompt over all of its tokens.
        visible: `[N, L, H or 1, Q]` which tokens the row may see.
        groups: `[N, G, Q]` which tokens each group holds.

    Raises:
        ValueError: If shapes do not fit, or a row sees no token.
    """
    pattern, visible, groups = as_tensors(pattern, visible, groups)
    pattern, members = as_float64(pattern), groups.to(torch.float64)
    examples, layers, heads, width = pattern.shape
    if (
        groups.ndim != 3
        or (groups.shape[0], groups.shape[2]) != (examples, width)
        or visible.shape not in ((examples, layers, 1, width), (examples, layers, heads, width))
    ):
        raise ValueError(
            f"pattern {tuple(pattern.shape)}, visible {tuple(visible.shape)} and groups {tuple(groups.shape)} do not "
            "fit: [N, L, H, Q], [N, L, H or 1, Q] and [N, G, Q]"
        )
    seen = visible.to(torch.float64)
    counts = seen.sum(-1, keepdim=True)
    if bool((counts == 0).any()):
        raise ValueError("a row of the pattern sees no token")
    shares = torch.einsum("nlhq,ngq->nlhg", pattern * seen, members)
    return AttentionShares(shares, torch.einsum("nlhq,ngq->nlhg", seen, members) / counts)


def preference(mass: AttentionShares, one: int, other: int) -> Tensor:
    """Return by how much more of two groups' attention is on one than in an even row, `[N, L, H]`.

    It is ``s₁ / (s₁ + s₂)`` less the same of the even row: 0 where the row does not tell the groups apart, at most 1.

    Args:
        mass: The shares.
        one: The group that may be preferred.
        other: The group it is preferred to.

    Returns:
        The preference; NaN where one of the groups has no visible token, or the row puts nothing on both.
    """
    shares, uniform = mass.shares, mass.uniform.expand_as(mass.shares)
    found = shares[..., one] / (shares[..., one] + shares[..., other])
    even = uniform[..., one] / (uniform[..., one] + uniform[..., other])
    both = (uniform[..., one] > 0) & (uniform[..., other] > 0)
    return torch.where(both, found - even, torch.nan)
