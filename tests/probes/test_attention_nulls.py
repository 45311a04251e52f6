"""The nulls of SimAOU: centred or not, reproducible, and the same batch by batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import (
    Floors,
    NullSimilarity,
    derangement,
    permuted_pairs,
    shared_baseline,
    sim_aou,
    sim_aou_null,
    vectors,
)

KINDS = ["gaussian", "uniform01_update", "uniform_hidden_minus_zsl", "permuted_pairs", "shared_baseline"]


def outputs(
    examples: int = 6, layers: int = 2, width: int = 8, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second, third = (torch.randn(examples, layers, width, generator=generator) for _ in range(3))
    return first, second, third


def of_length_one(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def literal_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", ["uniform01_update", "uniform_hidden_minus_zsl"])
def test_the_uniform_nulls_equal_a_literal_loop(kind, normalize):
    unit = of_length_one if normalize else np.asarray
    zero_shot, icl, _ = outputs()
    result = sim_aou_null(zero_shot, icl, None, kind, seed=5, draws=3, normalize=normalize)
    generator = np.random.default_rng(5)
    for i in range(6):
        for draw in range(3):
            for layer in range(2):
                before = unit(zero_shot[i, layer].double().numpy())
                update = unit(icl[i, layer].double().numpy()) - before
                random = generator.random(8)
                other = random if kind == "uniform01_update" else unit(random) - before
                expected = literal_cosine(update, other)
                assert float(result.draws[draw, i, layer]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("width", [2, 5])
def test_the_gaussian_null_has_the_law_of_literally_drawn_gaussian_updates(width):
    zero_shot, icl, _ = outputs(examples=1, layers=1, width=width)
    drawn = sim_aou_null(zero_shot, icl, None, "gaussian", seed=1, draws=20_000).draws.flatten().numpy()
    update = of_length_one(icl[0, 0].double().numpy()) - of_length_one(zero_shot[0, 0].double().numpy())
    random = np.random.default_rng(2).standard_normal((20_000, width))
    literal = random @ update / (np.linalg.norm(random, axis=1) * np.linalg.norm(update))
    # The largest distance of two empirical distributions of 20,000 stays below 0.02 but once in 3,000 times.
    grid = np.linspace(-1, 1, 401)
    distance = np.abs(
        np.searchsorted(np.sort(drawn), grid) / 20_000 - np.searchsorted(np.sort(literal), grid) / 20_000
    )
    assert distance.max() < 0.02
    assert drawn.std() == pytest.approx(1 / math.sqrt(width), rel=0.03)


def test_in_one_dimension_a_gaussian_update_points_along_or_against():
    zero_shot, icl = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    draws = sim_aou_null(zero_shot, icl, None, seed=0, draws=200).draws
    assert set(draws.flatten().tolist()) == {-1.0, 1.0}


def test_the_uniform_update_is_biased_towards_the_mean_shift_and_the_gaussian_is_centred():
    examples, width = 300, 64
    generator = torch.Generator().manual_seed(3)
    zero_shot = torch.randn(examples, 1, width, generator=generator)
    icl = zero_shot + 0.3 * torch.randn(examples, 1, width, generator=generator) + 0.3
    update = icl.double() - zero_shot.double()
    ones = torch.ones(width, dtype=torch.float64)
    shift = float(torch.nn.functional.cosine_similarity(update[:, 0], ones, dim=-1).mean())
    assert shift > 0.5
    uniform = sim_aou_null(zero_shot, icl, None, "uniform01_update", seed=0, draws=5, normalize=False)
    gaussian = sim_aou_null(zero_shot, icl, None, "gaussian", seed=0, draws=5, normalize=False)
    assert uniform.mean == pytest.approx(math.sqrt(3) / 2 * shift, abs=0.01)
    assert abs(gaussian.mean) < 4 / math.sqrt(width * examples * 5)


@pytest.mark.parametrize("null", [permuted_pairs, shared_baseline])
def test_the_nulls_of_other_queries_equal_a_literal_loop(null):
    zero_shot, icl, finetuned = outputs()
    partner = derangement(6, 4)
    result = null(zero_shot, icl, finetuned, partner=partner)
    for j in range(6):
        i = int(partner[j])
        assert i != j
        for layer in range(2):
            h = {
                (name, k): of_length_one(tensor[k, layer].double().numpy())
                for name, tensor in (("zsl", zero_shot), ("icl", icl), ("ft", finetuned))
                for k in (i, j)
            }
            before = h["zsl", i] if null is permuted_pairs else h["zsl", j]
            expected = literal_cosine(h["icl", i] - before, h["ft", j] - h["zsl", j])
            assert float(result.draws[0, j, layer]) == pytest.approx(expected, abs=1e-12)


def test_permuted_pairs_keep_the_direction_all_queries_share_and_lose_the_rest():
    zero_shot, noise, shared = outputs(examples=40, width=200)
    own = zero_shot + noise
    assert sim_aou(zero_shot, own, own).mean == pytest.approx(1.0)
    null = sim_aou_null(zero_shot, own, own, "permuted_pairs", seed=0, normalize=False)
    assert abs(null.mean) < 0.05
    common = zero_shot + shared[:1]
    null = sim_aou_null(zero_shot, common, common, "permuted_pairs", seed=0, normalize=False)
    assert null.mean == pytest.approx(1.0, abs=1e-6)


def test_the_shared_baseline_is_sim_aou_with_the_icl_output_of_another_query():
    zero_shot, icl, finetuned = outputs()
    partner = derangement(6, 1)
    null = shared_baseline(zero_shot, icl, finetuned, partner=partner)
    assert torch.equal(null.draws[0], sim_aou(zero_shot, icl[partner], finetuned).values)


def test_the_shared_baseline_keeps_the_zero_shot_output_that_permuted_pairs_lose():
    zero_shot, icl, finetuned = outputs(examples=100, width=200)
    partner = derangement(100, 0)
    assert permuted_pairs(zero_shot, icl, finetuned, partner=partner).mean == pytest.approx(0.0, abs=0.02)
    null = shared_baseline(zero_shot, icl, finetuned, partner=partner)
    assert null.mean == pytest.approx(0.5, abs=0.02) == sim_aou(zero_shot, icl, finetuned).mean


def test_a_null_is_undefined_where_an_update_is_only_rounding():
    tensors = outputs()
    floors = Floors(torch.tensor([0.0, 10.0], dtype=torch.float64), 0.0)
    for kind in ("gaussian", "permuted_pairs", "shared_baseline"):
        assert sim_aou_null(*tensors, kind, seed=0, floors=floors).undefined.tolist() == [0, 6]
    zero_shot, icl, finetuned = tensors
    icl[0, 0] = zero_shot[0, 0]  # Another query's output would differ, but there is nothing to be a null of.
    assert sim_aou_null(zero_shot, icl, finetuned, "shared_baseline", seed=0).undefined.tolist() == [1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_without_normalisation_rounding_goes_with_the_length_of_an_output(kind):
    zero_shot, icl, finetuned = outputs()
    long = 1e9 * zero_shot
    icl = long + icl
    assert sim_aou_null(long, icl, finetuned, kind, seed=0, normalize=False).undefined.tolist() == [6, 6]
    # The same change of outputs that are short enough to show it.
    moved = zero_shot + icl - long
    null = sim_aou_null(zero_shot, moved + finetuned, finetuned, kind, seed=0, normalize=False)
    assert null.undefined.tolist() == [0, 0]


def test_an_update_of_one_coordinate_alone_has_a_null():
    zero_shot, _, _ = outputs()
    icl = zero_shot.clone()
    icl[..., 3] += 1
    assert not sim_aou_null(zero_shot, icl, None, seed=0, draws=1, normalize=False).draws.isnan().any()


@pytest.mark.parametrize("kind", KINDS)
def test_no_query_at_all_gives_every_draw_without_a_value(kind):
    assert sim_aou_null(*outputs(examples=0), kind, seed=0, draws=3).draws.shape == (3, 0, 2)


@pytest.mark.parametrize("null", [permuted_pairs, shared_baseline])
def test_nulls_of_other_queries_in_chunks_are_the_whole_and_a_batch_may_be_empty(null, monkeypatch):
    zero_shot, icl, finetuned = outputs()
    partners = torch.stack([derangement(6, seed) for seed in range(3)])
    whole = null(zero_shot, icl, finetuned, partner=partners)
    nobody = torch.zeros(0, dtype=torch.int64)
    empty = null(zero_shot, icl, finetuned[:0], partner=partners, examples=nobody)
    assert empty.draws.shape == (3, 0, 2)
    monkeypatch.setattr(vectors, "CHUNK_ELEMENTS", 1)
    assert torch.equal(null(zero_shot, icl, finetuned, partner=partners).draws, whole.draws)


def test_the_shared_baseline_of_an_update_of_some_coordinates_has_a_value():
    zero_shot, _, finetuned = outputs()
    icl = zero_shot.clone()
    icl[..., 3] += 1
    null = shared_baseline(zero_shot, icl, finetuned, partner=derangement(6, 0), normalize=False)
    assert not null.draws.isnan().any()


@pytest.mark.parametrize("null", [permuted_pairs, shared_baseline])
def test_nulls_of_other_queries_batch_by_batch_in_any_order_are_the_whole(null):
    zero_shot, icl, finetuned = outputs()
    partners = torch.stack([derangement(6, seed) for seed in range(3)])
    whole = null(zero_shot, icl, finetuned, partner=partners)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    parts = [
        null(zero_shot, icl, finetuned[batch], partner=partners, examples=batch) for batch in order.split(4)
    ]
    assert torch.equal(NullSimilarity.concatenate(parts).select(order.argsort()).draws, whole.draws)


def test_two_queries_are_each_others_partners():
    zero_shot, icl, finetuned = outputs(examples=2)
    null = sim_aou_null(zero_shot, icl, finetuned, "shared_baseline", seed=0, draws=1)
    assert torch.equal(null.draws[0], sim_aou(zero_shot, icl.flip(0), finetuned).values)


def test_a_single_query_has_no_other_to_be_paired_with():
    null = sim_aou_null(*outputs(examples=1), "permuted_pairs", seed=0)
    assert null.draws.shape == (10, 1, 2)
    assert null.draws.isnan().all()
    assert math.isnan(null.mean)
    assert not sim_aou_null(*outputs(examples=1), "gaussian", seed=0).draws.isnan().any()


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_reproduce_and_leave_global_generators_alone(kind):
    tensors = outputs()
    torch.manual_seed(0)
    numpy_state, torch_state = repr(np.random.get_state(legacy=False)), torch.get_rng_state()  # noqa: NPY002
    first = sim_aou_null(*tensors, kind, seed=11).draws
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state(legacy=False)) == numpy_state  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(sim_aou_null(*tensors, kind, seed=11).draws, first)
    assert not torch.equal(sim_aou_null(*tensors, kind, seed=12).draws, first)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_one_generator_through_batches_gives_the_whole(kind, monkeypatch):
    zero_shot, icl, _ = outputs(width=1 if kind == "gaussian" else 8)
    whole = sim_aou_null(zero_shot, icl, None, kind, seed=7)
    generator = np.random.default_rng(7)
    parts = [
        sim_aou_null(zero_shot[rows], icl[rows], None, kind, seed=generator)
        for rows in (slice(0, 4), slice(4, 6))
    ]
    torch.testing.assert_close(NullSimilarity.concatenate(parts).draws, whole.draws, equal_nan=True)
    monkeypatch.setattr(vectors, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(
        sim_aou_null(zero_shot, icl, None, kind, seed=7).draws, whole.draws, equal_nan=True
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_of_zero_is_undefined(kind):
    zero_shot, icl, finetuned = outputs()
    icl[:, 1] = zero_shot[:, 1]
    null = sim_aou_null(zero_shot, icl, finetuned, kind, seed=0)
    assert null.undefined.tolist() == [0, 6]
    assert not math.isnan(null.mean)
    assert null.mean == pytest.approx(float(null.layer_profile[0]))


def test_mean_and_spread_by_hand():
    # Two draws, two examples, two layers; profiles (0.1, 0.3) and (0.3, 0.7): layer means 0.2 and 0.5.
    draws = torch.tensor([[[0.0, 0.2], [0.2, 0.4]], [[0.2, 0.6], [0.4, 0.8]]], dtype=torch.float64)
    null = NullSimilarity("gaussian", draws)
    torch.testing.assert_close(null.values, torch.tensor([[0.1, 0.4], [0.3, 0.6]], dtype=torch.float64))
    torch.testing.assert_close(null.layer_profile, torch.tensor([0.2, 0.5], dtype=torch.float64))
    expected = torch.tensor([math.sqrt(0.02), math.sqrt(0.08)], dtype=torch.float64)
    torch.testing.assert_close(null.layer_std, expected)
    assert null.mean == pytest.approx(0.35)
    assert null.std == pytest.approx(math.sqrt(0.045))
    assert math.isnan(NullSimilarity("gaussian", draws[:1]).std)


def test_means_and_spreads_leave_out_what_has_no_value_and_average_examples_before_draws():
    nan = math.nan
    # Profiles of the draws: (0.1, 0.5) and (0.4, 0.7); means over layers 0.3 and 0.55.
    draws = torch.tensor([[[0.0, nan], [0.2, 0.5]], [[0.4, 0.6], [nan, 0.8]]], dtype=torch.float64)
    null = NullSimilarity("gaussian", draws)
    assert null.layer_profile.tolist() == pytest.approx([0.25, 0.6])
    assert null.std == pytest.approx(abs(0.3 - 0.55) / math.sqrt(2))
    assert null.undefined.tolist() == [0, 0]
    alone = NullSimilarity.concatenate([null])
    assert alone.kind == "gaussian" and torch.equal(alone.draws.nan_to_num(), draws.nan_to_num())


def test_a_null_made_by_hand_is_checked():
    for shape in ((2, 3), (0, 2, 3), (0, 3)):
        with pytest.raises(ValueError, match=r"\[R, N, L\] with R >= 1"):
            NullSimilarity("gaussian", torch.zeros(shape))
    with pytest.raises(ValueError, match="unknown null 'cauchy'"):
        NullSimilarity("cauchy", torch.zeros(1, 2, 3))  # type: ignore[arg-type]
    kinds = [NullSimilarity(kind, torch.zeros(1, 2, 3)) for kind in ("gaussian", "permuted_pairs")]
    with pytest.raises(ValueError, match=r"one kind of null, got \['gaussian', 'permuted_pairs'\]"):
        NullSimilarity.concatenate(kinds)
    assert sim_aou_null(*outputs(examples=1), "permuted_pairs", seed=0).draws.dtype == torch.float64


def test_bad_input_is_refused():
    zero_shot, icl, finetuned = outputs()
    with pytest.raises(ValueError, match="unknown null 'cauchy', choose one of gaussian"):
        sim_aou_null(zero_shot, icl, None, "cauchy", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"zero_shot \(6, 2, 8\), icl \(5, 2, 8\)"):
        sim_aou_null(zero_shot, icl[:5], None, seed=0)
    for examples in (6, 1):
        with pytest.raises(ValueError, match=rf"icl \({examples}, 2, 8\), finetuned \({examples}, 2, 7\)"):
            short = (zero_shot[:examples], icl[:examples], finetuned[:examples, :, :7])
            sim_aou_null(*short, "permuted_pairs", seed=0)
    with pytest.raises(ValueError, match="draws=0"):
        sim_aou_null(zero_shot, icl, None, seed=0, draws=0)
    with pytest.raises(ValueError, match="needs the finetuned"):
        sim_aou_null(zero_shot, icl, None, "permuted_pairs", seed=0)
    with pytest.raises(ValueError, match="1 of 6 examples are their own partner"):
        permuted_pairs(zero_shot, icl, finetuned, partner=torch.tensor([1, 0, 2, 4, 5, 3]))
    with pytest.raises(ValueError, match=r"permutation of 0\.\.5"):
        permuted_pairs(zero_shot, icl, finetuned, partner=torch.tensor([1, 0, 1, 4, 5, 3]))
    for wrong in (derangement(5, 0), derangement(6, 0).expand(2, 6, 6)):
        with pytest.raises(ValueError, match=r"partner \[6\] or \[R, 6\], got shape"):
            permuted_pairs(zero_shot, icl, finetuned, partner=wrong)
    with pytest.raises(ValueError, match=r"zero_shot \(6, 2, 8\), icl \(6, 2, 7\)"):
        permuted_pairs(zero_shot, icl[..., :7], finetuned, partner=derangement(6, 0))
    with pytest.raises(ValueError, match=r"zero_shot \(5, 2, 8\), icl \(6, 2, 8\)"):
        shared_baseline(zero_shot[:5], icl, finetuned[:5], partner=derangement(5, 0))
    with pytest.raises(ValueError, match=r"0\.\.5, got -1\.\.3"):
        permuted_pairs(
            zero_shot, icl, finetuned[:2], partner=derangement(6, 0), examples=torch.tensor([3, -1])
        )
    with pytest.raises(ValueError, match="for 2 examples"):
        permuted_pairs(zero_shot, icl, finetuned, partner=derangement(6, 0), examples=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.5, got 2\.\.6"):
        permuted_pairs(
            zero_shot, icl, finetuned[:2], partner=derangement(6, 0), examples=torch.tensor([2, 6])
        )
