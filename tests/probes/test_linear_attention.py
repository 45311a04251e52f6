"""A linear self-attention layer, against its definition written out with loops."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.linear_attention import (
    LinearSelfAttention,
    interpolate_layers,
    layer_of_products,
    product_distances,
    query_tokens,
)

N_X, N_Y = 3, 2


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(seed: int = 1) -> LinearSelfAttention:
    return LinearSelfAttention(*drawn(4, N_X + N_Y, N_X + N_Y, seed=seed), n_x=N_X)


def test_the_update_is_the_sum_over_demonstrations_alone():
    attention, demonstrations, tokens = layer(), drawn(4, 5, seed=2), drawn(2, 5, seed=3)
    updated = attention.update(demonstrations, tokens)
    for i, token in enumerate(tokens):
        change = torch.zeros(5, dtype=torch.float64)
        for demonstration in demonstrations:
            score = (attention.w_k @ demonstration) @ (attention.w_q @ token)
            change += attention.projection @ (attention.w_v @ demonstration) * score
        torch.testing.assert_close(updated[i], token + change)


def test_a_prediction_is_minus_the_y_part_of_the_updated_query_token():
    attention, start = layer(), drawn(N_Y, N_X, seed=5)
    x, y, queries = drawn(6, 4, N_X, seed=2), drawn(6, 4, N_Y, seed=3), drawn(6, 1, N_X, seed=4)
    token = torch.cat([queries[2, 0], -start @ queries[2, 0]])
    expected = -attention.update(torch.cat([x[2], y[2]], 1), token[None])[0, N_X:]
    torch.testing.assert_close(attention.predict(x, y, queries, start)[2, 0], expected)
    assert query_tokens(queries, N_Y)[..., N_X:].count_nonzero() == 0


def test_the_function_depends_on_the_products_alone_and_rescaling_keeps_it():
    attention = layer()
    x, y, queries = drawn(2, 4, N_X, seed=2), drawn(2, 4, N_Y, seed=3), drawn(2, 3, N_X, seed=4)
    expected = attention.predict(x, y, queries)
    bare = layer_of_products(attention.key_query, attention.projected_value, N_X)
    torch.testing.assert_close(bare.predict(x, y, queries), expected)
    key_query, projected_value = attention.rescaled_products()
    assert float(key_query.diagonal()[:N_X].mean()) == pytest.approx(1)
    torch.testing.assert_close(
        layer_of_products(key_query, projected_value, N_X).predict(x, y, queries), expected
    )


def test_interpolation_runs_from_one_layer_to_the_other():
    first, second = layer(1), layer(2)
    x, y, queries = drawn(2, 4, N_X, seed=2), drawn(2, 4, N_Y, seed=3), drawn(2, 3, N_X, seed=4)
    for fraction, end in ((0.0, first), (1.0, second)):
        reached = interpolate_layers(first, second, fraction).predict(x, y, queries)
        torch.testing.assert_close(reached, end.predict(x, y, queries))
    middle = interpolate_layers(first, second, 0.5)
    mean = (first.rescaled_products()[0] + second.rescaled_products()[0]) / 2
    torch.testing.assert_close(middle.key_query, mean)


def test_the_same_layer_with_another_scale_sign_and_basis_interpolates_to_itself():
    first, mix = layer(), drawn(N_X + N_Y, N_X + N_Y, seed=9)
    other = LinearSelfAttention(
        -3 * mix.inverse().mT @ first.w_k, mix @ first.w_q, first.w_v, -first.projection / 3, N_X
    )
    x, y, queries = drawn(2, 4, N_X, seed=2), drawn(2, 4, N_Y, seed=3), drawn(2, 3, N_X, seed=4)
    middle = interpolate_layers(first, other, 0.5)
    torch.testing.assert_close(middle.predict(x, y, queries), first.predict(x, y, queries))


def test_a_prediction_begins_with_zero_unless_a_start_is_given():
    attention = layer()
    x, y, queries = drawn(6, 4, N_X, seed=2), drawn(6, 4, N_Y, seed=3), drawn(6, 1, N_X, seed=4)
    zero = torch.zeros(N_Y, N_X, dtype=torch.float64)
    assert torch.equal(attention.predict(x, y, queries), attention.predict(x, y, queries, zero))


def test_the_distance_of_products_is_relative_and_counts_what_reaches_a_prediction_alone():
    first, second = layer(1), layer(2)
    found = product_distances(first, second)
    (one, other), (one_value, other_value) = zip(
        first.rescaled_products(), second.rescaled_products(), strict=True
    )
    squares = [
        (float((one - other)[i, j]) ** 2, float(other[i, j]) ** 2) for i in range(5) for j in range(N_X)
    ]
    assert found[0] == pytest.approx((sum(s for s, _ in squares) / sum(s for _, s in squares)) ** 0.5)
    squares = [
        (float((one_value - other_value)[i, j]) ** 2, float(other_value[i, j]) ** 2)
        for i in range(N_X, 5)
        for j in range(5)
    ]
    assert found[1] == pytest.approx((sum(s for s, _ in squares) / sum(s for _, s in squares)) ** 0.5)
    # Another draw of what no gradient reaches is no distance.
    product, value = first.key_query.clone(), first.projected_value.clone()
    product[:, N_X:] += 7.0
    value[:N_X] -= 3.0
    assert product_distances(layer_of_products(product, value, N_X), first) == pytest.approx(
        (0, 0), abs=1e-12
    )


def test_matrices_that_make_no_layer_are_refused():
    square = torch.eye(3)
    with pytest.raises(ValueError, match=r"W_V.*\(2, 2\)"):
        LinearSelfAttention(square, square, torch.eye(2), square, 2)
    with pytest.raises(ValueError, match="3 entries cannot hold 3 of x"):
        LinearSelfAttention(square, square, square, square, 3)
    with pytest.raises(ValueError, match="3 entries cannot hold 0 of x"):
        LinearSelfAttention(square, square, square, square, 0)
    with pytest.raises(ValueError, match="mean zero"):
        LinearSelfAttention(0 * square, square, square, square, 2).rescaled_products()
