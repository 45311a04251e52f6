"""SimAOU against a literal transcription of its definition, and against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import SimAOU, attention_output_update, sim_aou, vectors


def outputs(
    examples: int = 7, layers: int = 3, width: int = 5, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second, third = (torch.randn(examples, layers, width, generator=generator) for _ in range(3))
    return first, second, third


def literal_sim_aou(zero_shot, icl, finetuned, normalize):
    """The definition, one example and layer at a time."""
    examples, layers, _ = zero_shot.shape
    values = np.full((examples, layers), np.nan)
    for i in range(examples):
        for layer in range(layers):
            h = []
            for setting in (zero_shot, icl, finetuned):
                vector = setting[i, layer].double().numpy()
                h.append(vector / math.sqrt(sum(x * x for x in vector)) if normalize else vector)
            icl_update, ft_update = h[1] - h[0], h[2] - h[0]
            norms = [math.sqrt(sum(x * x for x in update)) for update in (icl_update, ft_update)]
            if norms[0] > 0 and norms[1] > 0:
                values[i, layer] = sum(a * b for a, b in zip(icl_update, ft_update, strict=True)) / (
                    norms[0] * norms[1]
                )
    profile = []
    for layer in range(layers):
        defined = [value for value in values[:, layer] if not math.isnan(value)]
        profile.append(sum(defined) / len(defined) if defined else math.nan)
    left = [value for value in profile if not math.isnan(value)]
    return values, profile, sum(left) / len(left)


@pytest.mark.parametrize("normalize", [True, False])
def test_equals_the_literal_definition(normalize):
    zero_shot, icl, finetuned = outputs()
    icl[2, 1] = zero_shot[2, 1]
    finetuned[:, 0] = zero_shot[:, 0]
    values, profile, mean = literal_sim_aou(zero_shot, icl, finetuned, normalize)
    result = sim_aou(zero_shot, icl, finetuned, normalize=normalize)
    np.testing.assert_allclose(result.values.numpy(), values, atol=1e-12)
    np.testing.assert_allclose(result.layer_profile.numpy(), profile, atol=1e-12)
    assert result.mean == pytest.approx(mean, abs=1e-12)
    assert result.undefined.tolist() == [7, 1, 0]
    assert result.undefined_layers == 1


def test_worked_by_hand():
    # h~_zsl = (1, 0), h~_icl = (0, 1), h~_ft = (0.6, 0.8):
    # updates (-1, 1) and (-0.4, 0.8), cosine 1.2 / (sqrt(2) sqrt(0.8)) = 0.948683.
    result = sim_aou(torch.tensor([[[2.0, 0]]]), torch.tensor([[[0, 5.0]]]), torch.tensor([[[3.0, 4.0]]]))
    assert result.mean == pytest.approx(0.9486833, abs=1e-7)
    assert result.update_norms_icl.item() == pytest.approx(math.sqrt(2))
    assert result.update_norms_ft.item() == pytest.approx(math.sqrt(0.8))
    # Without normalisation: (-2, 5) and (1, 4), 18 / (sqrt(29) sqrt(17)) = 0.810679.
    plain = sim_aou(
        torch.tensor([[[2.0, 0]]]),
        torch.tensor([[[0, 5.0]]]),
        torch.tensor([[[3.0, 4.0]]]),
        normalize=False,
    )
    assert plain.mean == pytest.approx(0.8106792, abs=1e-6)


def test_the_same_update_is_one_and_the_opposite_is_minus_one():
    zero_shot, icl, _ = outputs()
    assert sim_aou(zero_shot, icl, icl).mean == pytest.approx(1.0)
    opposite = sim_aou(zero_shot.double(), icl.double(), (2 * zero_shot - icl).double(), normalize=False)
    assert opposite.mean == pytest.approx(-1.0)


def test_an_update_of_zero_is_undefined_and_counted_not_zero_similarity():
    zero_shot, icl, _ = outputs()
    result = sim_aou(zero_shot, icl, zero_shot)
    assert result.values.isnan().all()
    assert result.undefined.tolist() == [7, 7, 7]
    assert math.isnan(result.mean)
    assert (result.update_norms_ft == 0).all()


def test_a_multiple_of_the_output_is_no_update_once_normalised():
    zero_shot, icl, _ = (tensor.double() for tensor in outputs())
    result = sim_aou(zero_shot, icl, zero_shot * 3.0)
    assert result.values.isnan().all()
    assert not sim_aou(zero_shot, icl, zero_shot * 3.0, normalize=False).values.isnan().any()


def test_a_small_but_real_update_is_kept_and_a_step_of_the_last_digit_is_none():
    zero_shot, icl, _ = outputs()
    finetuned = zero_shot.clone()
    finetuned[..., 0] = torch.nextafter(finetuned[..., 0], torch.tensor(10.0))
    assert sim_aou(zero_shot, icl, finetuned).values.isnan().all()
    exact = (zero_shot.double(), icl.double(), finetuned.double())
    assert not sim_aou(*exact).values.isnan().any()


def test_without_normalisation_rounding_goes_with_the_length_of_an_output():
    zero_shot, icl, finetuned = outputs()
    zero_shot *= 1e9
    for changed in ((zero_shot + icl, 2 * zero_shot), (2 * zero_shot, zero_shot + finetuned)):
        assert sim_aou(zero_shot, *changed, normalize=False).values.isnan().all()
    assert not sim_aou(zero_shot, 2 * zero_shot, 3 * zero_shot, normalize=False).values.isnan().any()


def test_one_query_and_none():
    zero_shot, icl, finetuned = outputs(examples=1)
    one = sim_aou(zero_shot, icl, finetuned)
    torch.testing.assert_close(one.layer_profile, one.values[0])
    none = sim_aou(zero_shot[:0], icl[:0], finetuned[:0])
    assert none.values.shape == (0, 3)
    assert math.isnan(none.mean)


def test_batches_in_any_order_give_the_whole():
    zero_shot, icl, finetuned = outputs()
    whole = sim_aou(zero_shot, icl, finetuned)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    batches = [sim_aou(zero_shot[part], icl[part], finetuned[part]) for part in order.split(3)]
    joined = SimAOU.concatenate(batches).select(order.argsort())
    for name in ("values", "update_norms_icl", "update_norms_ft"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))


def test_select_takes_a_mask():
    whole = sim_aou(*outputs())
    mask = torch.tensor([True, False, True, False, False, False, False])
    assert torch.equal(whole.select(mask).values, whole.values[[0, 2]])


def test_chunks_do_not_change_the_result(monkeypatch):
    tensors = outputs()
    whole = sim_aou(*tensors)
    monkeypatch.setattr(vectors, "CHUNK_ELEMENTS", 2 * 3 * 5)
    assert [rows.stop - rows.start for rows in vectors.example_slices(7, 15)] == [2, 2, 2, 1]
    assert torch.equal(sim_aou(*tensors).values, whole.values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_float_dtype_is_computed_in_float64(dtype):
    tensors = [tensor.to(dtype) for tensor in outputs()]
    result = sim_aou(*tensors)
    assert result.values.dtype == torch.float64
    assert torch.equal(result.values, sim_aou(*(tensor.double() for tensor in tensors)).values)


def test_the_update_is_the_difference_of_unit_vectors():
    update = attention_output_update(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 2.0]]]))
    torch.testing.assert_close(update, torch.tensor([[[-0.6, 0.2]]], dtype=torch.float64))
    from_zero = attention_output_update(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 2.0]]]))
    assert from_zero.tolist() == [[[0.0, 1.0]]]


def test_bad_input_is_refused_with_its_shapes():
    zero_shot, icl, finetuned = outputs()
    with pytest.raises(ValueError, match=r"zero_shot \(7, 3, 5\), icl \(6, 3, 5\)"):
        sim_aou(zero_shot, icl[:6], finetuned)
    with pytest.raises(ValueError, match=r"\[N, L, d\]"):
        sim_aou(zero_shot[0], icl[0], finetuned[0])
    with pytest.raises(ValueError, match=r"icl \(7, 3, 5\), finetuned \(7, 3, 4\)"):
        sim_aou(zero_shot, icl, finetuned[..., :4])
    for before, after in ((zero_shot[:6], icl), (zero_shot, icl[..., :1]), (zero_shot[0], icl[0])):
        with pytest.raises(ValueError, match=r"\[N, L, d\] for all, got before .*, after "):
            attention_output_update(before, after)
    finetuned[4, 1, 0] = torch.inf
    for update in ((zero_shot, icl, finetuned), (finetuned, icl, zero_shot)):
        with pytest.raises(ValueError, match="1 NaN or infinite"):
            sim_aou(*update)
    with pytest.raises(ValueError, match="before the update holds 1 NaN"):
        attention_output_update(finetuned, icl)
    with pytest.raises(ValueError, match="at least one part"):
        SimAOU.concatenate([])
    for wrong in range(3):
        fields = [torch.zeros(2, 2 if place == wrong else 3) for place in range(3)]
        with pytest.raises(ValueError, match=r"values .*update_norms_icl .*update_norms_ft"):
            SimAOU(*fields)
