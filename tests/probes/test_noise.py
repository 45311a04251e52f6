"""The noise floor of repeated runs, and which updates stand above it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iclprobe.probes import below_noise, noise_floor, score_noise_floor, sim_aou


def test_the_floor_is_the_largest_difference_of_normalised_outputs():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(4, 3, 6, generator=generator)
    second = first + 0.01 * torch.randn(4, 3, 6, generator=generator)
    expected = np.zeros(3)
    for i in range(4):
        for layer in range(3):
            a, b = first[i, layer].double().numpy(), second[i, layer].double().numpy()
            distance = np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))
            expected[layer] = max(expected[layer], distance)
    np.testing.assert_allclose(noise_floor(first, second).numpy(), expected, rtol=1e-12)
    assert (noise_floor(first, second, quantile=0.5) < noise_floor(first, second)).all()


def test_worked_by_hand():
    first = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]])
    second = torch.tensor([[[0.6, 0.8]], [[2.0, 0.0]]])
    # Differences (0.4, -0.8) and 0: norms sqrt(0.8) and 0.
    assert noise_floor(first, second).item() == pytest.approx(0.8**0.5)
    assert noise_floor(first, second, quantile=0.5).item() == pytest.approx(0.8**0.5 / 2)
    assert noise_floor(first * 3, first * 3).item() == 0.0


def test_without_normalisation_the_floor_is_a_distance_of_the_outputs_themselves():
    first, second = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[6.0, 8.0]]])
    assert noise_floor(first, second, normalize=False).item() == pytest.approx(5.0)
    assert noise_floor(first, second).item() == pytest.approx(0.0)
    assert noise_floor(torch.cat([first, first]), torch.cat([second, first]), quantile=0.0).item() == 0.0


def test_updates_up_to_the_floor_are_flagged_layer_by_layer():
    norms = torch.tensor([[0.1, 0.1], [0.3, 0.0]])
    assert below_noise(norms, torch.tensor([0.1, 0.05])).tolist() == [[True, False], [False, True]]


def test_half_precision_repeats_flag_a_finetuning_that_did_nothing():
    generator = torch.Generator().manual_seed(1)
    exact = torch.randn(8, 2, 16, generator=generator)
    zero_shot, repeat = exact.bfloat16(), (exact * 1.001).bfloat16()
    moved = exact + torch.randn(8, 2, 16, generator=generator)
    floor = noise_floor(zero_shot, repeat)
    assert (floor > 0).all()
    result = sim_aou(zero_shot, moved.bfloat16(), repeat)
    assert below_noise(result.update_norms_ft, floor).all()
    assert not below_noise(result.update_norms_icl, floor).any()


def test_the_floor_of_scores_is_the_largest_root_mean_square_of_a_row():
    first, second = torch.zeros(2, 1, 2, 3), torch.zeros(2, 1, 2, 3)
    second[0, 0, 0], second[1, 0, 0] = torch.tensor([3.0, 4.0, 99.0]), torch.tensor([1.0, 99.0, 99.0])
    columns = torch.tensor([[True, True, False], [True, False, False]])
    assert score_noise_floor(first, second, columns).tolist() == [[pytest.approx(12.5**0.5), 0.0]]
    # A difference, not a size: what both runs have in common does not count.
    assert torch.equal(
        score_noise_floor(first + 7, second + 7, columns), score_noise_floor(first, second, columns)
    )
    visible = torch.tensor([False, True, True])[None, None, None]
    assert score_noise_floor(first, second, columns, visible).tolist() == [[pytest.approx(4.0), 0.0]]
    with pytest.raises(ValueError, match="at least one example"):
        score_noise_floor(first[:0], second[:0], columns[:0])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one example"):
        noise_floor(torch.zeros(0, 2, 3), torch.zeros(0, 2, 3))
    with pytest.raises(ValueError, match=r"second \(1, 2, 4\)"):
        noise_floor(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match=r"first \(1, 2, 3, 4\), second \(1, 2, 3, 5\)"):
        score_noise_floor(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5), torch.ones(1, 4).bool())
    for quantile in (1.5, -0.5):
        with pytest.raises(ValueError, match=rf"got {quantile}"):
            noise_floor(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), quantile=quantile)
    with pytest.raises(ValueError, match=r"\(4, 2, 2\) and \(2, 2\)"):
        below_noise(torch.zeros(4, 2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        below_noise(torch.zeros(4, 2), torch.zeros(3))
