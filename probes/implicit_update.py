"""In-context learning as a change of weights: what the first map of an MLP would be to do without the context.

Where the demonstrations change the MLP's input from a to a + Δa, the rank-one change ΔW = (W Δa) aᵀ / ‖a‖² of its
first map makes it give for a what it gave for a + Δa (Dherin et al. 2025). Each query has its own; they are worked
with by their factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .vectors import as_float64, cosine, require_finite


@dataclass(frozen=True, eq=False)
class ImplicitUpdates:
    """Rank-one updates ``outputs_i inputs_iᵀ / ‖inputs_i‖²`` of one map, one a query (float64, CPU).

    Attributes:
        outputs: What each adds to the map's output on its own input, W Δa, ``[N, m]``; zero where Δa is rounding.
        inputs: The input of the zero-shot run, a, ``[N, d]``.
    """

    outputs: Tensor
    inputs: Tensor

    def __post_init__(self) -> None:
        """Take arrays of any tool and kind, and check that they belong to the same queries."""
        for name, array in zip(("outputs", "inputs"), as_tensors(self.outputs, self.inputs), strict=True):
            object.__setattr__(self, name, as_float64(array))
        if self.outputs.ndim != 2 or self.inputs.ndim != 2 or len(self.outputs) != len(self.inputs):
            raise ValueError(
                f"expected outputs [N, m] and inputs [N, d], got {tuple(self.outputs.shape)} and "
                f"{tuple(self.inputs.shape)}"
            )

    @property
    def defined(self) -> Tensor:
        """Which queries have an update, ``[N]`` bool."""
        return (self.outputs != 0).any(-1)

    @property
    def lengths(self) -> Tensor:
        """Frobenius norm of each update, ``[N]``; NaN where there is none."""
        lengths = torch.linalg.vector_norm(self.outputs, dim=-1) / self._input_lengths
        return lengths.masked_fill(~self.defined, torch.nan)

    @property
    def effective_rank(self) -> float:
        """How many different updates there are among those of N queries: 1 if all are one, N if all are orthogonal.

        exp of the entropy of the eigenvalues of their Gram matrix, each update at length 1 (Roy and Vetterli 2007).
        """
        rows = self.defined
        if not bool(rows.any()):
            return float("nan")
        outputs, inputs = (
            each[rows] / torch.linalg.vector_norm(each[rows], dim=-1, keepdim=True)
            for each in (self.outputs, self.inputs)
        )
        values = torch.linalg.eigvalsh((outputs @ outputs.T) * (inputs @ inputs.T)).clamp(min=0)
        shares = values / values.sum()
        return float(torch.special.entr(shares).sum().exp())

    def matrix(self, query: int) -> Tensor:
        """Return one update as a matrix ``[m, d]``."""
        own = self.inputs[query]
        return torch.outer(self.outputs[query], own) / own.square().sum()

    def on(self, inputs: ArrayLike) -> Tensor:
        """Return what each update adds to the map's output on an input of its own, ``[N, m]``.

        Args:
            inputs: One input for each update, ``[N, d]``.
        """
        (given,) = as_tensors(inputs)
        return (
            self.outputs * ((self.inputs * as_float64(given)).sum(-1) / self._input_lengths.square())[:, None]
        )

    def select(self, queries: ArrayLike) -> ImplicitUpdates:
        """Return the updates of these queries."""
        (chosen,) = as_tensors(queries)
        return ImplicitUpdates(self.outputs[chosen], self.inputs[chosen])

    @property
    def _input_lengths(self) -> Tensor:
        return torch.linalg.vector_norm(self.inputs, dim=-1)


def implicit_updates(
    weight: ArrayLike, zero_shot: ArrayLike, icl: ArrayLike, *, floor: float = 0.0
) -> ImplicitUpdates:
    """Return the update of each query that makes a map give zero-shot what it gives in context.

    Args:
        weight: The map, W, ``[m, d]``; maps of one input are one above the other.
        zero_shot: Its inputs in the zero-shot run, ``[N, d]``.
        icl: Its inputs behind demonstrations, ``[N, d]``.
        floor: A change of the input no longer than this, relative to it, is rounding and asks for no update.

    Raises:
        ValueError: The shapes do not fit, or a value is NaN or infinite.
    """
    weight, zero_shot, icl = map(as_float64, as_tensors(weight, zero_shot, icl))
    if weight.ndim != 2 or zero_shot.shape != icl.shape or zero_shot.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"expected a weight [m, d] and inputs [N, d], got {tuple(weight.shape)}, {tuple(zero_shot.shape)} and "
            f"{tuple(icl.shape)}"
        )
    require_finite("the zero-shot input", zero_shot)
    require_finite("the in-context input", icl)
    change = icl - zero_shot
    lengths = torch.linalg.vector_norm(change, dim=-1, keepdim=True)
    rounding = lengths <= floor * torch.linalg.vector_norm(zero_shot, dim=-1, keepdim=True)
    return ImplicitUpdates(change.masked_fill(rounding, 0.0) @ weight.T, zero_shot)


@dataclass(frozen=True, eq=False)
class UpdateAlignment:
    """How alike implicit updates and what finetuning did to the same map are, per query (float64, CPU).

    Attributes:
        weights: Cosine of the two matrices, ``[N]``; NaN where one is nothing.
        weights_permuted: The same with the other factor of another query's update: its output, this query's input.
        outputs: Cosine of what both add to the map's output on the zero-shot input, ``[N]``.
        outputs_permuted: The same with what another query's update adds.
        gaussian: Standard deviation of the first under a finetuning update from N(0, I), whose mean is 0.
    """

    weights: Tensor
    weights_permuted: Tensor
    outputs: Tensor
    outputs_permuted: Tensor
    gaussian: float


def update_alignment(
    updates: ImplicitUpdates, finetuned: ArrayLike, partners: ArrayLike | None = None
) -> UpdateAlignment:
    """Compare implicit updates with what finetuning did to the same map.

    Args:
        updates: The implicit ones.
        finetuned: What finetuning added to the map, ``[m, d]``.
        partners: Derangements ``[R, N]`` for the nulls of other queries; None leaves them out.

    Raises:
        ValueError: The map has another shape.
    """
    matrix = as_float64(as_tensors(finetuned)[0])
    if matrix.shape != (updates.outputs.shape[1], updates.inputs.shape[1]):
        raise ValueError(
            f"expected a map {updates.outputs.shape[1], updates.inputs.shape[1]}, got {tuple(matrix.shape)}"
        )
    added = updates.inputs @ matrix.T
    whole = torch.linalg.matrix_norm(matrix) * torch.linalg.vector_norm(updates.inputs, dim=-1)

    def weights(outputs: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(outputs, dim=-1) * whole
        return (outputs * added).sum(-1) / lengths.masked_fill(lengths == 0, torch.nan)

    own = weights(updates.outputs), cosine(updates.outputs, added)
    permuted = [torch.full_like(each, torch.nan) for each in own]
    if partners is not None:
        others = [updates.outputs[row] for row in torch.atleast_2d(as_tensors(partners)[0])]
        permuted = [
            torch.stack([measure(each) for each in others]).nanmean(0).masked_fill(value.isnan(), torch.nan)
            for measure, value in zip((weights, lambda each: cosine(each, added)), own, strict=True)
        ]
    return UpdateAlignment(own[0], permuted[0], own[1], permuted[1], matrix.numel() ** -0.5)
