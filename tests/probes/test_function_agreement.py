"""Agreement of two learners, by hand and against finite differences."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.function_agreement import (
    FunctionAgreement,
    function_agreement,
    implicit_weight_difference,
    implicit_weights,
    prediction_difference,
    query_sensitivities,
    sensitivity_agreement,
    squared_prediction_difference,
)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_three_comparisons_by_hand():
    predictions = (torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    sensitivities = (
        torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]),
        torch.tensor([[[5.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]]),
    )
    found = function_agreement(predictions, sensitivities)
    assert found.prediction_difference == pytest.approx(2.5)
    assert found.sensitivity_cosine == pytest.approx(0.5)
    assert found.sensitivity_difference == pytest.approx((4 + 8**0.5) / 2)


def test_sensitivities_are_the_slopes_of_each_output_in_its_own_query():
    weights = drawn(6, 2, 3, seed=1)

    def predict(queries: torch.Tensor) -> torch.Tensor:
        return torch.einsum("boi,bi->bo", weights, queries.sin())

    queries, step = drawn(6, 3, seed=2), 1e-6
    found = query_sensitivities(predict, queries)
    for i in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[i]
        slopes = (predict(queries + shift) - predict(queries - shift)) / (2 * step)
        torch.testing.assert_close(found[:, :, i], slopes, atol=1e-8, rtol=1e-8)
    assert not found.requires_grad


def test_a_sensitivity_of_zero_has_the_cosine_zero():
    cosines, differences = sensitivity_agreement(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 4.0]]]))
    assert (float(cosines), float(differences)) == (0.0, 5.0)


def test_a_length_is_made_longer_by_a_hundred_millionth_before_it_divides():
    short = torch.tensor([[[1e-8, 0.0]]], dtype=torch.float64)
    cosines, _ = sensitivity_agreement(short, short)
    assert float(cosines) == pytest.approx(0.25)


def test_spd_and_ilwd_add_up_over_outputs_and_average_over_tasks():
    first = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[5.0, 5.0], [1.0, 1.0]]])
    second = torch.tensor([[[1.0, 5.0], [4.0, 0.0]], [[5.0, 5.0], [1.0, 2.0]]])
    assert squared_prediction_difference(first, second) == pytest.approx((9 + 16 + 0 + 1) / 4)
    assert implicit_weight_difference(first, second) == pytest.approx((25 + 1) / 2)


def test_spd_and_ilwd_by_hand():
    first, second = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.0], [5.0]]])
    assert squared_prediction_difference(first, second) == pytest.approx(4.5)
    weights = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    assert implicit_weight_difference(weights, torch.zeros(2, 1, 2)) == pytest.approx(2.5)


def test_the_implicit_weights_of_a_linear_learner_are_its_own():
    weights, queries = drawn(4, 2, 3, seed=1), drawn(9, 3, seed=2)
    constant = drawn(4, 1, 2, seed=3)
    torch.testing.assert_close(implicit_weights(queries, queries @ weights.mT + constant), weights)
    torch.testing.assert_close(implicit_weights(queries, queries @ weights.mT, intercept=False), weights)


def test_the_implicit_weights_of_any_learner_are_its_best_linear_fit():
    queries, predictions = drawn(30, 3, seed=2), drawn(2, 30, 1, seed=3)
    found = implicit_weights(queries, predictions)
    columns = torch.cat([queries, torch.ones(30, 1, dtype=torch.float64)], 1)
    for task in range(2):
        expected = torch.linalg.lstsq(columns, predictions[task]).solution[:3, 0]
        torch.testing.assert_close(found[task, 0], expected)


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="3 queries do not determine 4 coefficients"):
        implicit_weights(drawn(3, 3, seed=1), drawn(1, 3, 1, seed=2))
    with pytest.raises(ValueError, match=r"got \(9, 3\) and \(2, 8, 1\)"):
        implicit_weights(drawn(9, 3, seed=1), drawn(2, 8, 1, seed=2))
    with pytest.raises(ValueError, match="expected one shape"):
        squared_prediction_difference(torch.zeros(2, 3, 1), torch.zeros(2, 3, 2))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(1, 3, 1\)"):
        implicit_weights(drawn(3, seed=1), drawn(1, 3, 1, seed=2))
    with pytest.raises(ValueError, match=r"got \(9, 2\) and \(9, 9\)"):
        implicit_weights(drawn(9, 2, seed=1), drawn(9, 9, seed=2))
    # Shapes that would broadcast.
    with pytest.raises(ValueError, match=r"\[B, N_y\] for all, got first \(2, 1\), second \(2, 3\)"):
        prediction_difference(torch.zeros(2, 1), torch.zeros(2, 3))
    for compare in (sensitivity_agreement, implicit_weight_difference):
        with pytest.raises(ValueError, match=r"\[B, N_y, N_x\].* first \(2, 3, 1\), second \(1, 3, 1\)"):
            compare(torch.zeros(2, 3, 1), torch.zeros(1, 3, 1))
    for wrong in (1.5, -1.5):
        with pytest.raises(ValueError, match=r"lies in -1\.\.1"):
            FunctionAgreement(0.0, wrong, 0.0)
    for lengths in ((-0.5, 0.5), (0.5, -0.5)):
        with pytest.raises(ValueError, match="differences are lengths"):
            FunctionAgreement(lengths[0], 0.0, lengths[1])
    for cosine in (1.0, -1.0, 1 + 5e-6):
        FunctionAgreement(0.0, cosine, 0.0)
