"""The partial SimAOU: against its definition, blind to what is shared, and seeing what is particular."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import Floors, NullKind, partial_permuted_pairs, partial_sim_aou, sim_aou, sim_aou_null


def gaussians(examples: int = 200, layers: int = 4, width: int = 256, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(examples, layers, width, generator=generator) for _ in range(count)]


def literal(zero_shot, icl, finetuned, *, normalize):
    """Residuals of each query and layer, by the definition; one regression a layer."""
    examples, layers, width = zero_shot.shape
    residuals = np.zeros((2, examples, layers, width))
    for layer in range(layers):
        centred = []
        for setting in (zero_shot, icl, finetuned):
            rows = [setting[i, layer].double().numpy() for i in range(examples)]
            if normalize:
                rows = [row / math.sqrt(sum(row * row)) for row in rows]
            mean = sum(rows) / examples
            centred.append([row - mean for row in rows])
        z = np.concatenate(centred[0])
        for place, change in enumerate(centred[1:]):
            (scalar,), *_ = np.linalg.lstsq(z[:, None], np.concatenate(change), rcond=None)
            for i in range(examples):
                residuals[place, i, layer] = change[i] - scalar * centred[0][i]
    return residuals


def literal_cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize("normalize", [True, False])
def test_similarity_and_null_equal_a_literal_loop(normalize):
    outputs = [3.0 + tensor for tensor in gaussians(6, 2, 5)]
    got = partial_sim_aou(*outputs, normalize=normalize)
    null = partial_permuted_pairs(*outputs, normalize=normalize)
    icl, finetuned = literal(*outputs, normalize=normalize)
    for i in range(6):
        for layer in range(2):
            own = literal_cosine(icl[i, layer], finetuned[i, layer])
            assert float(got.values[i, layer]) == pytest.approx(own, abs=1e-9)
            assert float(got.update_norms_icl[i, layer]) == pytest.approx(np.linalg.norm(icl[i, layer]))
            assert float(got.update_norms_ft[i, layer]) == pytest.approx(np.linalg.norm(finetuned[i, layer]))
            others = [literal_cosine(icl[j, layer], finetuned[i, layer]) for j in range(6) if j != i]
            assert float(null.draws[0, i, layer]) == pytest.approx(np.mean(others), abs=1e-9)


def test_three_independent_outputs_have_half_by_their_shared_baseline_and_nothing_in_part():
    outputs = gaussians()
    # Each cosine of 256 numbers deviates by about 1/16, and there are 800 of them: four standard errors are 0.009.
    assert sim_aou(*outputs).mean == pytest.approx(0.5, abs=0.009)
    zero_shot, icl, finetuned = outputs
    expectations: dict[NullKind, float] = {"shared_baseline": 0.5, "permuted_pairs": 0.0}
    for kind, expected in expectations.items():
        null = sim_aou_null(zero_shot, icl, finetuned, kind, seed=0)
        assert null.mean == pytest.approx(expected, abs=0.009)
    assert partial_sim_aou(*outputs).mean == pytest.approx(0.0, abs=0.009)
    assert partial_permuted_pairs(*outputs).mean == pytest.approx(0.0, abs=0.001)


def test_a_change_that_is_particular_to_the_query_is_seen():
    zero_shot, noise_icl, noise_ft, particular = gaussians(count=4)
    icl = zero_shot + noise_icl + particular
    finetuned = zero_shot + noise_ft + particular
    # Of what is left in each, half is in common.
    assert partial_sim_aou(zero_shot, icl, finetuned).mean == pytest.approx(0.5, abs=0.01)
    assert partial_permuted_pairs(zero_shot, icl, finetuned).mean == pytest.approx(0.0, abs=0.004)
    against = zero_shot + noise_ft - particular
    assert partial_sim_aou(zero_shot, icl, against).mean == pytest.approx(-0.5, abs=0.01)


def test_a_change_that_all_queries_have_in_common_is_not_seen():
    zero_shot, noise_icl, noise_ft, other = gaussians(count=4)
    common = 2 * other[:1]
    outputs = (zero_shot, zero_shot + noise_icl + common, zero_shot + noise_ft + common)
    assert sim_aou(*outputs).mean > 0.5
    permuted = sim_aou_null(zero_shot, zero_shot + noise_icl + common, outputs[2], "permuted_pairs", seed=0)
    assert permuted.mean > 0.4
    assert partial_sim_aou(*outputs).mean == pytest.approx(0.0, abs=0.009)


def test_any_amount_of_the_zero_shot_output_is_taken_out():
    zero_shot, icl, finetuned = gaussians()
    mixed = partial_sim_aou(zero_shot, icl - 2 * zero_shot, finetuned + 3 * zero_shot, normalize=False)
    plain = partial_sim_aou(zero_shot, icl, finetuned, normalize=False)
    torch.testing.assert_close(mixed.values, plain.values, atol=1e-5, rtol=0)


def test_a_residual_that_is_only_rounding_is_undefined_and_counted():
    zero_shot, icl, _ = gaussians(8, 2, 16)
    icl[:, 1] = icl[:1, 1] * (
        1 + 1e-7 * torch.arange(8)[:, None]
    )  # All queries have one output, but for rounding.
    result = partial_sim_aou(zero_shot, icl, icl)
    assert result.undefined.tolist() == [0, 8]
    assert partial_permuted_pairs(zero_shot, icl, icl).undefined.tolist() == [0, 8]
    assert partial_sim_aou(zero_shot, icl, zero_shot).undefined.tolist() == [8, 8]
    floors = Floors(torch.tensor([1e9, 0.0], dtype=torch.float64), 0.0)
    assert partial_sim_aou(*gaussians(8, 2, 16), floors=floors).undefined.tolist() == [8, 0]


def test_one_query_has_nothing_of_its_own():
    outputs = gaussians(1, 2, 4)
    assert partial_sim_aou(*outputs).values.isnan().all()
    assert partial_permuted_pairs(*outputs).draws.isnan().all()


def test_outputs_that_do_not_fit_are_refused():
    zero_shot, icl, finetuned = gaussians(3, 2, 4)
    with pytest.raises(ValueError, match=r"icl \(3, 2, 3\)"):
        partial_sim_aou(zero_shot, icl[..., :3], finetuned)
    icl[1, 1, 0] = torch.nan
    with pytest.raises(ValueError, match="icl attention output of layer 1 holds 1 NaN"):
        partial_sim_aou(zero_shot, icl, finetuned)


def test_outputs_are_divided_by_their_length_unless_asked_otherwise():
    outputs = gaussians(6, 2, 5)
    for measure in (partial_sim_aou, partial_permuted_pairs):
        default, divided, whole = (
            measure(*outputs, **n) for n in ({}, {"normalize": True}, {"normalize": False})
        )
        assert torch.equal(default.values, divided.values)
        assert not torch.equal(default.values, whole.values)


def test_coordinates_that_no_output_uses_change_nothing():
    outputs = gaussians(6, 2, 5)
    wider = [torch.cat([output, torch.zeros(6, 2, 3)], -1) for output in outputs]
    for measure in (partial_sim_aou, partial_permuted_pairs):
        torch.testing.assert_close(measure(*wider).values, measure(*outputs).values)


def test_a_query_whose_residual_is_rounding_is_nobodys_partner_and_has_none():
    outputs = gaussians(6, 1, 5)
    icl, finetuned = literal(*outputs, normalize=False)
    lengths = np.linalg.norm(icl[:, 0], axis=-1)
    least = int(lengths.argmin())
    floor = float(np.sort(lengths)[:2].mean())
    null = partial_permuted_pairs(*outputs, normalize=False, floors=Floors(floor, 0.0))
    for i in range(6):
        others = [literal_cosine(icl[j, 0], finetuned[i, 0]) for j in range(6) if j not in (i, least)]
        assert float(null.draws[0, i, 0]) == pytest.approx(np.mean(others), abs=1e-9)
    lengths = np.linalg.norm(finetuned[:, 0], axis=-1)
    floor = float(np.sort(lengths)[:2].mean())
    null = partial_permuted_pairs(*outputs, normalize=False, floors=Floors(0.0, floor))
    assert null.draws[0, :, 0].isnan().tolist() == (lengths <= floor).tolist()


def test_one_zero_shot_output_for_all_queries_takes_nothing_away():
    zero_shot, icl, finetuned = gaussians(6, 2, 5)
    result = partial_sim_aou(zero_shot[:1].expand(6, 2, 5), icl, finetuned, normalize=False)
    one, other = (tensor.double() - tensor.double().mean(0) for tensor in (icl, finetuned))
    torch.testing.assert_close(result.values, torch.nn.functional.cosine_similarity(one, other, dim=-1))


def test_floors_may_be_tensors_of_one_number():
    outputs = gaussians(6, 2, 5)
    number = partial_sim_aou(*outputs, floors=Floors(0.9, 0.0))
    tensor = partial_sim_aou(*outputs, floors=Floors(torch.tensor(0.9), torch.tensor(0.0)))
    assert torch.equal(number.values.isnan(), tensor.values.isnan())
