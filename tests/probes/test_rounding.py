"""What is only rounding, in the dtype that was computed in and behind later positions."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes import Floors, rounding_floor, score_floors, sim_am, sim_aou

PREFIXES = (32, 1_000, 8_000)
EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.bfloat16, torch.float64)}


def rotated(vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotary embedding as models make it: angles in fp32, cosine and sine in the vectors' dtype."""
    half = vectors.shape[-1] // 2
    frequencies = 1.0 / 10_000 ** (torch.arange(half, dtype=torch.float32) / half)
    angles = (positions[:, None].float() * frequencies).repeat(1, 2)
    turned = torch.cat([-vectors[..., half:], vectors[..., :half]], dim=-1)
    return vectors * angles.cos().to(vectors.dtype) + turned * angles.sin().to(vectors.dtype)


def layer_zero(dtype: torch.dtype, offset: int) -> torch.Tensor:
    """Scores `[N, 1, H, Q]` of the same queries and keys at positions that start at an offset."""
    examples, heads, width, dimension = 30, 4, 24, 64
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(examples, heads, 1, dimension, generator=generator).to(dtype)
    keys = torch.randn(examples, heads, width, dimension, generator=generator).to(dtype)
    positions = torch.arange(offset, offset + width)
    at_keys = rotated(keys, positions)
    scores = (rotated(query, positions[-1:]).float() * at_keys.float()).sum(-1) / dimension**0.5
    return scores[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_change_by_later_positions_alone_is_undefined_and_ten_floors_are_not(dtype, prefix):
    zero_shot, icl = layer_zero(dtype, 0), layer_zero(dtype, prefix)
    columns = torch.ones(30, 24, dtype=torch.bool)
    floors = score_floors(zero_shot, columns, floors=Floors.of(dtype, prefix + 24))
    assert not torch.equal(zero_shot, icl)
    finetuned = zero_shot + torch.randn(zero_shot.shape, generator=torch.Generator().manual_seed(1))
    result = sim_am(finetuned, icl, columns, variant="delta", zero_shot=zero_shot, floors=floors)
    assert result.values.isnan().all()
    direction = torch.randn(zero_shot.shape, generator=torch.Generator().manual_seed(2)).double()
    direction /= direction.square().mean(-1, keepdim=True).sqrt()
    assert isinstance(floors.icl, torch.Tensor)
    genuine = zero_shot.double() + 10 * floors.icl[..., None] * direction + (icl - zero_shot).double()
    result = sim_am(finetuned, genuine, columns, variant="delta", zero_shot=zero_shot, floors=floors)
    assert not result.values.isnan().any()


def test_the_floor_lies_above_what_was_measured_and_grows_with_positions_not_with_the_dtype():
    for prefix, epsilons in zip(PREFIXES, (9, 117, 1_145), strict=True):
        assert rounding_floor(torch.float32, prefix) > 3 * epsilons * EPS[torch.float32]
    grown = [rounding_floor(dtype, 8_000) - rounding_floor(dtype) for dtype in EPS]
    assert grown == pytest.approx([4_000 * EPS[torch.float32]] * 3)
    assert 3.5 * EPS[torch.bfloat16] < rounding_floor(torch.bfloat16) < 10 * EPS[torch.bfloat16]
    assert rounding_floor(torch.float64) < 1e-13


def test_half_precision_that_was_recorded_in_fp32_needs_its_dtype():
    generator = torch.Generator().manual_seed(0)
    exact, moved = (torch.randn(20, 2, 64, generator=generator) for _ in range(2))
    zero_shot = exact.bfloat16().float()
    repeated = (exact * (1 + 1e-3)).bfloat16().float()
    assert not sim_aou(zero_shot, repeated, moved).values.isnan().any()
    known = sim_aou(zero_shot, repeated, moved, floors=Floors.of(torch.bfloat16))
    assert known.values.isnan().all()
    assert (known.update_norms_icl > 0).all()  # What it was stays to be seen.
    assert sim_aou(zero_shot.bfloat16(), repeated.bfloat16(), moved.bfloat16()).values.isnan().all()


def test_floors_are_the_layers_own():
    generator = torch.Generator().manual_seed(0)
    zero_shot = torch.randn(5, 2, 8, generator=generator).double()
    icl, finetuned = (zero_shot + 0.1 * torch.randn(5, 2, 8, generator=generator) for _ in range(2))
    floor = torch.tensor([10.0, 0.0], dtype=torch.float64)
    for floors in (Floors(floor, 0.0), Floors(0.0, floor)):
        assert sim_aou(zero_shot, icl, finetuned, floors=floors).undefined.tolist() == [5, 0]


def test_without_normalising_the_floor_goes_with_the_length_of_each_output():
    generator = torch.Generator().manual_seed(0)
    zero_shot = torch.randn(4, 1, 16, generator=generator)
    zero_shot[0] *= 1e6
    icl = zero_shot + 1e-2
    values = sim_aou(zero_shot, icl, 2 * zero_shot, normalize=False).values
    assert values.isnan().flatten().tolist() == [True, False, False, False]


def test_a_row_that_is_constant_but_for_rounding_has_no_centred_direction():
    rows = torch.tensor([[[[0.1, 0.1, torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))]]]])
    other, columns = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.ones(1, 3, dtype=torch.bool)
    assert sim_am(rows, other, columns, variant="centered").values.isnan().all()
    assert sim_am(other, rows, columns, variant="centered").values.isnan().all()
    assert not sim_am(rows, other, columns).values.isnan().any()


def test_floors_of_scores_are_relative_to_all_rows_of_a_head():
    zero_shot = torch.zeros(2, 1, 2, 3)
    zero_shot[0, 0, 0], zero_shot[1, 0, 0] = torch.tensor([3.0, 4.0, 9.0]), torch.tensor([0.0, 0.0, 0.0])
    columns = torch.tensor([[True, True, False], [True, True, False]])
    floors = score_floors(zero_shot, columns, floors=Floors(0.1, 0.01))
    assert isinstance(floors.icl, torch.Tensor) and isinstance(floors.ft, torch.Tensor)
    assert floors.icl.tolist() == [pytest.approx([0.1 * (25 / 4) ** 0.5, 0.0])]
    assert floors.ft.tolist() == [pytest.approx([0.01 * (25 / 4) ** 0.5, 0.0])]
    # The second query's scores are 0, and a change of its row is rounding all the same.
    icl = zero_shot.clone()
    icl[1, 0, 0, 0] = 0.2
    got = sim_am(zero_shot + 1, icl, columns, variant="delta", zero_shot=zero_shot, floors=floors)
    assert got.values[1, 0, 0].isnan()


def test_floors_are_those_of_the_documentation():
    """In epsilon: 6 of the dtype for storing, 64 of what sums are accumulated in, half of fp32's for a position."""
    single, half = EPS[torch.float32], EPS[torch.bfloat16]
    assert rounding_floor(torch.float32) == pytest.approx(70 * single, rel=1e-12)
    assert rounding_floor(torch.bfloat16) == pytest.approx(6 * half + 64 * single, rel=1e-12)
    assert rounding_floor(torch.float64) == pytest.approx(70 * EPS[torch.float64], rel=1e-12)
    assert rounding_floor(torch.float32, 100) == pytest.approx(120 * single, rel=1e-12)
    here, later = Floors.of(torch.bfloat16), Floors.of(torch.bfloat16, 100)
    assert here.icl == here.ft == later.ft == rounding_floor(torch.bfloat16)
    assert later.icl == rounding_floor(torch.bfloat16, 100)


def test_what_makes_no_floor_is_refused():
    with pytest.raises(ValueError, match=r"floating point dtype, got torch\.int64"):
        rounding_floor(torch.int64)
    with pytest.raises(ValueError, match="got -1"):
        rounding_floor(torch.float32, -1)
