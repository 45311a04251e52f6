"""SimAM against a literal transcription of its definition, in every variant, with ragged queries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import Floors, SimAM, score_floors, sim_am, vectors

LENGTHS = [5, 1, 3, 4, 2]


def scores(seed: int = 0, layers: int = 2, heads: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(LENGTHS), layers, heads, max(LENGTHS))
    first, second, third = (torch.randn(*shape, generator=generator) + 2.0 for _ in range(3))
    return first, second, third


def query_columns() -> torch.Tensor:
    return torch.arange(max(LENGTHS)) >= max(LENGTHS) - torch.tensor(LENGTHS)[:, None]


def literal_sim_am(first, icl, columns, variant, zero_shot, visible):
    """The definition, one example, layer and head at a time, on the columns picked out."""
    examples, layers, heads, _ = icl.shape
    values = np.full((examples, layers, heads), np.nan)
    for i in range(examples):
        for layer in range(layers):
            for head in range(heads):
                keep = [c for c in range(columns.shape[1]) if columns[i, c] and visible[i, layer, 0, c]]
                if not keep:
                    continue
                a = first[i, layer, head].double().numpy()[keep]
                b = icl[i, layer, head].double().numpy()[keep]
                if variant == "delta":
                    reference = zero_shot[i, layer, head].double().numpy()[keep]
                    a, b = a - reference, b - reference
                elif variant == "centered":
                    a, b = a - a.mean(), b - b.mean()
                elif variant == "softmax":
                    a, b = np.exp(a) / np.exp(a).sum(), np.exp(b) / np.exp(b).sum()
                norms = np.linalg.norm(a) * np.linalg.norm(b)
                if norms > 0:
                    values[i, layer, head] = (a * b).sum() / norms
    profile = []
    for layer in range(layers):
        means = []
        for i in range(examples):
            defined = [value for value in values[i, layer] if not math.isnan(value)]
            if defined:
                means.append(sum(defined) / len(defined))
        profile.append(sum(means) / len(means))
    return values, profile, sum(profile) / len(profile)


@pytest.mark.parametrize("variant", ["raw", "delta", "centered", "softmax"])
@pytest.mark.parametrize("windowed", [False, True])
def test_equals_the_literal_definition(variant, windowed):
    zero_shot, icl, finetuned = scores()
    icl[3, 1, 2] = finetuned[3, 1, 2] = zero_shot[3, 1, 2] = 0.0
    columns = query_columns()
    visible = torch.ones(len(LENGTHS), 2, 1, max(LENGTHS), dtype=torch.bool)
    if windowed:
        visible[:, 1, :, :-2] = False
        visible[2, 0, 0, -1] = False
    values, profile, mean = literal_sim_am(finetuned, icl, columns, variant, zero_shot, visible)
    result = sim_am(
        finetuned,
        icl,
        columns,
        variant=variant,
        zero_shot=zero_shot,
        visible=visible if windowed else None,
    )
    np.testing.assert_allclose(result.values.numpy(), values, atol=1e-12)
    np.testing.assert_allclose(result.layer_profile.numpy(), profile, atol=1e-12)
    assert result.mean == pytest.approx(mean, abs=1e-12)
    assert result.undefined.tolist() == np.isnan(values).sum((0, 2)).tolist()


def one_row(*numbers: float) -> torch.Tensor:
    return torch.tensor([[[numbers]]])


def test_worked_by_hand():
    ft, icl, zsl = one_row(1.0, 2.0, 3.0), one_row(3.0, 2.0, 4.0), one_row(1.0, 1.0, 1.0)
    columns = torch.ones(1, 3, dtype=torch.bool)
    # raw: (3 + 4 + 12) / sqrt(14 * 29)
    assert sim_am(ft, icl, columns).mean == pytest.approx(19 / math.sqrt(14 * 29))
    # delta: (0, 1, 2) and (2, 1, 3): 7 / sqrt(5 * 14)
    assert sim_am(ft, icl, columns, variant="delta", zero_shot=zsl).mean == pytest.approx(7 / math.sqrt(70))
    # centred: (-1, 0, 1) and (0, -1, 1): 1 / 2
    assert sim_am(ft, icl, columns, variant="centered").mean == pytest.approx(0.5)
    # softmax of (0, ln 3) and (ln 3, 0): (1, 3) and (3, 1), 6 / 10
    swapped = one_row(0.0, math.log(3.0)), one_row(math.log(3.0), 0.0)
    assert sim_am(*swapped, columns[:, :2], variant="softmax").mean == pytest.approx(0.6)


def test_heads_are_averaged_before_examples():
    # Example 0 has one defined head (1), example 1 has two (-1 and 0): (1 + -0.5) / 2, not (1 - 1 + 0) / 3.
    first = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[1.0, 0.0], [0.0, 1.0]]]])
    icl = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]], [[[-1.0, 0.0], [1.0, 0.0]]]])
    result = sim_am(first, icl, torch.ones(2, 2, dtype=torch.bool))
    assert result.mean == pytest.approx(0.25)
    assert result.undefined.tolist() == [1]
    assert result.per_example.tolist() == [[1.0], [-0.5]]
    assert result.head_profile.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("variant", ["raw", "delta", "centered", "softmax"])
def test_what_stands_outside_the_columns_does_not_count(variant):
    zero_shot, icl, finetuned = scores()
    columns = query_columns()
    clean = sim_am(finetuned, icl, columns, variant=variant, zero_shot=zero_shot)
    for tensor, junk in zip((zero_shot, icl, finetuned), (torch.nan, -torch.inf, 1e9), strict=True):
        tensor.masked_fill_(~columns[:, None, None, :], junk)
    soiled = sim_am(finetuned, icl, columns, variant=variant, zero_shot=zero_shot)
    torch.testing.assert_close(soiled.values, clean.values, rtol=0, atol=0, equal_nan=True)


def test_columns_out_of_sight_in_every_row_leave_nothing_to_compare():
    _, icl, finetuned = scores()
    visible = torch.tensor([True, False])[None, :, None, None]
    result = sim_am(finetuned, icl, query_columns(), visible=visible)
    assert result.undefined.tolist() == [0, 15]
    assert result.undefined_layers == 1
    assert result.mean == pytest.approx(float(result.layer_profile[0]))


def test_no_change_makes_delta_undefined_and_raw_one():
    zero_shot, icl, _ = scores()
    delta = sim_am(zero_shot, icl, query_columns(), variant="delta", zero_shot=zero_shot)
    assert delta.values.isnan().all()
    assert math.isnan(delta.mean)
    assert sim_am(zero_shot, zero_shot, query_columns()).mean == pytest.approx(1.0)


def test_a_constant_row_has_no_centred_direction():
    columns = torch.ones(1, 3, dtype=torch.bool)
    result = sim_am(one_row(0.1, 0.1, 0.1).double(), one_row(1.0, 2.0, 3.0), columns, variant="centered")
    assert result.undefined.tolist() == [1]
    single = torch.tensor([[False, True, False]])
    assert (
        sim_am(one_row(1.0, 2.0, 3.0), one_row(1.0, 5.0, 3.0), single, variant="centered")
        .values.isnan()
        .all()
    )


def test_softmax_survives_large_scores():
    columns = torch.ones(1, 2, dtype=torch.bool)
    result = sim_am(one_row(5000.0, 4000.0), one_row(-4000.0, -5000.0), columns, variant="softmax")
    assert result.mean == pytest.approx(1.0)


def test_of_scores_that_are_float32_a_change_in_the_last_digit_is_none():
    zero_shot, icl, finetuned = scores()
    zero_shot = 1e6 * zero_shot
    step = torch.nextafter(zero_shot, torch.tensor(torch.inf))
    for changed in ((step, zero_shot + 1e6 * icl), (zero_shot + 1e6 * finetuned, step)):
        delta = sim_am(*changed, query_columns(), variant="delta", zero_shot=zero_shot)
        assert delta.values.isnan().all()
    moved = (zero_shot + 1e6 * finetuned, zero_shot + 1e6 * icl)
    delta = sim_am(*moved, query_columns(), variant="delta", zero_shot=zero_shot)
    assert not delta.values.isnan().any()


def test_a_row_is_rounded_by_its_own_length_and_not_by_that_of_others():
    zero_shot, icl, finetuned = scores()
    zero_shot[0] *= 1e9
    delta = sim_am(
        zero_shot + finetuned, zero_shot + icl, query_columns(), variant="delta", zero_shot=zero_shot
    )
    assert delta.values[0].isnan().all() and not delta.values[1:].isnan().any()


def test_one_part_alone_is_joined_to_itself():
    _, icl, finetuned = scores()
    whole = sim_am(finetuned, icl, query_columns(), variant="softmax")
    joined = SimAM.concatenate([whole])
    assert joined.variant == "softmax" and torch.equal(joined.values, whole.values)


def test_floors_of_a_change_are_root_mean_squares_over_the_compared_columns():
    zero_shot, change = torch.zeros(1, 1, 1, 4), one_row(0.3, 0.0, 0.0, 0.0)
    columns = torch.tensor([[True, True, True, True]])
    # The root mean square of the change is 0.15.
    for icl, ft, defined in ((0.14, 0.14, True), (0.16, 0.14, False), (0.14, 0.16, False)):
        floors = Floors(torch.tensor([[icl]]), torch.tensor([[ft]]))
        result = sim_am(change, change, columns, variant="delta", zero_shot=zero_shot, floors=floors)
        assert bool(result.values.isnan().item()) is not defined


def test_a_query_without_columns_has_floors_of_zero_beside_others_that_count():
    zero_shot = one_row(3.0, 4.0)
    floors = score_floors(zero_shot, torch.tensor([[True, False]]), floors=Floors(0.1, 0.01))
    assert float(floors.icl) == pytest.approx(0.3) and float(floors.ft) == pytest.approx(0.03)
    assert torch.as_tensor(floors.icl).dtype == torch.float64
    none = score_floors(zero_shot, torch.tensor([[False, False]]), floors=Floors(0.1, 0.01))
    assert float(none.icl) == float(none.ft) == 0.0


@pytest.mark.parametrize("variant", ["raw", "delta", "centered", "softmax"])
def test_no_query_at_all_gives_an_empty_result(variant):
    none = torch.zeros(0, 2, 3, 4)
    result = sim_am(none, none, torch.zeros(0, 4).bool(), variant=variant, zero_shot=none)
    assert result.values.shape == (0, 2, 3) and result.variant == variant


def test_batches_and_chunks_give_the_whole(monkeypatch):
    _, icl, finetuned = scores()
    columns = query_columns()
    whole = sim_am(finetuned, icl, columns)
    order = torch.tensor([4, 2, 0, 3, 1])
    parts = [sim_am(finetuned[batch], icl[batch], columns[batch]) for batch in order.split(2)]
    joined = SimAM.concatenate(parts).select(order.argsort())
    assert torch.equal(joined.values, whole.values)
    monkeypatch.setattr(vectors, "CHUNK_ELEMENTS", 1)
    assert torch.equal(sim_am(finetuned, icl, columns).values, whole.values)


def test_bad_input_is_refused_with_its_shapes():
    _, icl, finetuned = scores()
    columns = query_columns()
    with pytest.raises(ValueError, match=r"icl \(5, 2, 3, 4\)"):
        sim_am(finetuned, icl[..., :4], columns)
    with pytest.raises(ValueError, match=r"columns \(5, 5\) of torch.bool, got \(5, 5\) of torch.int64"):
        sim_am(finetuned, icl, columns.long())
    with pytest.raises(ValueError, match=r"columns \(5, 5\) of torch.bool, got \(5, 4\)"):
        sim_am(finetuned, icl, columns[:, :4])
    seen = torch.ones(5, 2, 1, 5)
    for visible in (torch.ones(5, 3, 1, 5).bool(), seen[:, :, 0].bool(), seen[..., 0].bool(), seen):
        with pytest.raises(ValueError, match=r"visible broadcastable to \(5, 2, 1, 5\) of torch.bool, got"):
            sim_am(finetuned, icl, columns, visible=visible)
    with pytest.raises(ValueError, match=r"\[N, L, H, Q\] for all, got zero_shot \(5, 2, 3\)"):
        score_floors(icl[..., 0], columns, floors=Floors(0.1, 0.1))
    with pytest.raises(ValueError, match="needs zero_shot"):
        sim_am(finetuned, icl, columns, variant="delta")
    with pytest.raises(ValueError, match="unknown SimAM variant 'cubed'"):
        sim_am(finetuned, icl, columns, variant="cubed")  # type: ignore[arg-type]
    icl[0, 0, 0, -1] = torch.nan
    with pytest.raises(ValueError, match="icl scores holds 1 NaN"):
        sim_am(finetuned, icl, columns)
    with pytest.raises(ValueError, match=r"one variant, got \['raw', 'delta'\]"):
        SimAM.concatenate([SimAM("raw", torch.zeros(1, 1, 1)), SimAM("delta", torch.zeros(1, 1, 1))])
    with pytest.raises(ValueError, match=r"\[N, L, H\]"):
        SimAM("raw", torch.zeros(1, 1))
    with pytest.raises(ValueError, match="unknown SimAM variant 'cubed'"):
        SimAM("cubed", torch.zeros(1, 1, 1))  # type: ignore[arg-type]
