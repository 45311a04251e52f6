"""A ratio of counts over queries, which can be bootstrapped and never hides an empty denominator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor
from .statistics import Interval, bootstrap_ratio


@dataclass(frozen=True, eq=False)
class Ratio:
    """A ratio of counts over queries.

    Attributes:
        numerators: `[N]` int64, what each query adds to the numerator.
        denominators: `[N]` int64, what it adds to the denominator.
    """

    numerators: Tensor
    denominators: Tensor

    def __post_init__(self) -> None:
        """Check shapes and that no query adds more above than below."""
        of_queries(numerators=self.numerators, denominators=self.denominators)
        if bool(((self.numerators < 0) | (self.numerators > self.denominators)).any()):
            raise ValueError(
                "each numerator must lie between 0 and its denominator, got sums "
                f"{self.numerator} over {self.denominator} for {len(self.numerators)} queries"
            )

    @property
    def numerator(self) -> int:
        """Sum over queries."""
        return int(self.numerators.sum())

    @property
    def denominator(self) -> int:
        """Sum over queries."""
        return int(self.denominators.sum())

    @property
    def percent(self) -> float:
        """100 x numerator / denominator; NaN if the denominator is 0."""
        return 100.0 * self.numerator / self.denominator if self.denominator else float("nan")

    def interval(self, *, seed: int, resamples: int = 2000, level: float = 0.95) -> Interval:
        """Bootstrap the percentage over queries, numerator and denominator together.

        Args:
            seed: Of the resamples.
            resamples: How many.
            level: Coverage.

        Returns:
            The interval in percent; see `bootstrap_ratio`.
        """
        return bootstrap_ratio(
            100 * self.numerators, self.denominators, seed=seed, resamples=resamples, level=level
        )


def of_queries(dtype: torch.dtype | None = None, **arrays: ArrayLike) -> tuple[Tensor, ...]:
    """Return arrays that have one value a query as tensors, in their order.

    Args:
        dtype: What all must be of; None is anything.
        arrays: Each `[N]`.

    Raises:
        ValueError: If one is of another shape or dtype.
    """
    tensors = {name: as_tensor(array) for name, array in arrays.items()}
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if len({shape for shape, _ in shapes.values()}) != 1 or any(
        len(shape) != 1 for shape, _ in shapes.values()
    ):
        raise ValueError(f"expected one value per query, [N], for all, got {shapes}")
    if dtype is not None and any(have != dtype for _, have in shapes.values()):
        raise ValueError(f"expected values of {dtype}, got {shapes}")
    return tuple(tensors.values())
