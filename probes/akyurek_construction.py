"""Akyürek et al.'s hand-made embedding, attention matrices and input: attention that copies between positions.

Shen et al.'s slides show W_e, W_K, W_Q and H⁰ with dots for their surroundings. Matrices are square here, of a
model's width; the dots are zeros, and where the slides leave a place open, `first` says it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def akyurek_input(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """Return H⁰, whose columns alternate (0, x_i) and (y_i, 0) and end with the query (0, x_n).

    Akyürek et al. 2023, Eq. 12; the slides show the columns around y_i.

    Args:
        x: Inputs of the demonstrations, `[N, d]`.
        y: Their targets, `[N]`.
        query: `[d]`.

    Returns:
        `[d + 1, 2 N + 1]`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if x.ndim != 2 or y.shape != x.shape[:1] or query.shape != x.shape[1:]:
        raise ValueError(
            "expected x [N, d], y [N] and query [d], "
            f"got {tuple(x.shape)}, {tuple(y.shape)} and {tuple(query.shape)}"
        )
    columns = x.new_zeros(x.shape[1] + 1, 2 * len(x) + 1)
    columns[1:, 0:-1:2] = x.mT
    columns[0, 1::2] = y
    columns[1:, -1] = query
    return columns


def akyurek_embedding(d: int, width: int) -> Tensor:
    """Return W_e = [[I, 0], [0, 0]], `[width, width]`, with the identity of size d + 1.

    It brings H⁰, padded with zeros to the width, into the hidden state and leaves the rest as scratch space
    (Akyürek et al. 2023, App. C.4.1). All but d + 1 entries are zero.

    Args:
        d: Entries of x.
        width: Of the hidden state, at least d + 1.

    Raises:
        ValueError: If d + 1 entries do not fit.
    """
    if d < 1 or d + 1 > width:
        raise ValueError(f"x of {d} entries and y do not fit into a width of {width}")
    embedding = torch.zeros(width, width)
    embedding[: d + 1, : d + 1] = torch.eye(d + 1)
    return embedding


def akyurek_attention(p: int, width: int, *, first: int | None = None) -> tuple[Tensor, Tensor]:
    """Return W_K with the block row [I_p, 0_p] and W_Q with [0_p, I_p], both `[width, width]`.

    A layer owns 2 p units of the hidden state: p hold the key of a position, p its query, see
    `akyurek_positions`. The matrices read them, so that who attends to whom is written in the positions and not
    in the weights (Akyürek et al. 2023, App. C.4.1). All but p entries of each are zero.

    Args:
        p: Units of a key, and of a query.
        width: Of the hidden state.
        first: The first of the layer's 2 p units; None is the last ones of the hidden state.

    Returns:
        W_K and W_Q.

    Raises:
        ValueError: If 2 p units do not fit.
    """
    begin = width - 2 * p if first is None else first
    _require_units(p, width, begin)
    rows = slice(begin, begin + p)
    w_k, w_q = torch.zeros(width, width), torch.zeros(width, width)
    w_k[rows, begin : begin + p] = torch.eye(p)
    w_q[rows, begin + p : begin + 2 * p] = torch.eye(p)
    return w_k, w_q


def akyurek_positions(
    sources: Tensor, width: int, *, sharpness: float = 1e3, first: int | None = None
) -> Tensor:
    """Return position embeddings under which softmax attention copies one position to each other.

    Position i has the key e_i and the query `sharpness` · e_K(i) with one unit for each position, p = T. (Akyürek
    et al. need fewer units for their two maps K; this one does for any.)

    Args:
        sources: K, `[T]` integers: the position that each position reads.
        width: Of the hidden state.
        sharpness: Score of the position that is read, in place of "a sufficiently large number".
        first: The first of the layer's 2 T units; None is the last ones of the hidden state.

    Returns:
        `[width, T]`, to be added to the embedded input.

    Raises:
        ValueError: If the units do not fit, or a source is no position.
    """
    positions = len(sources)
    begin = width - 2 * positions if first is None else first
    _require_units(positions, width, begin)
    if int(sources.min()) < 0 or int(sources.max()) >= positions:
        raise ValueError(f"sources must be positions 0..{positions - 1}, got {sources.tolist()}")
    embeddings = torch.zeros(width, positions)
    embeddings[begin : begin + positions] = torch.eye(positions)
    queries = torch.nn.functional.one_hot(sources, positions).to(embeddings.dtype)
    embeddings[begin + positions : begin + 2 * positions] = sharpness * queries.mT
    return embeddings


def akyurek_sparsity(d: int, p: int, width: int) -> tuple[float, float]:
    """Return the fractions of entries that are exactly zero, of W_e and of W_K (or W_Q), in closed form.

    Args:
        d: Entries of x.
        p: Units of a key.
        width: Of the hidden state.
    """
    return 1 - (d + 1) / width**2, 1 - p / width**2


def _require_units(p: int, width: int, begin: int) -> None:
    if p < 1 or begin < 0 or begin + 2 * p > width:
        raise ValueError(f"2 · {p} units from unit {begin} on do not fit into a width of {width}")
