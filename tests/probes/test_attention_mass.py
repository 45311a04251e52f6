"""Shares of attention against a literal loop, and on heads whose shares are known by hand."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.probes import AttentionShares, attention_shares, preference


def made(examples=3, layers=2, heads=4, width=11, groups=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    visible = torch.rand(examples, layers, 1, width, generator=generator) > 0.3
    visible[..., 0] = True
    scores = torch.randn(examples, layers, heads, width, generator=generator).masked_fill(
        ~visible, -torch.inf
    )
    members = torch.rand(examples, groups, width, generator=generator) > 0.5
    return scores.softmax(-1), visible, members


def by_loop(pattern, visible, members):
    examples, layers, heads, width = pattern.shape
    shares = torch.zeros(examples, layers, heads, members.shape[1], dtype=torch.float64)
    uniform = torch.zeros(examples, layers, 1, members.shape[1], dtype=torch.float64)
    for n in range(examples):
        for layer in range(layers):
            seen = [q for q in range(width) if visible[n, layer, 0, q]]
            for group in range(members.shape[1]):
                inside = [q for q in seen if members[n, group, q]]
                uniform[n, layer, 0, group] = len(inside) / len(seen)
                for head in range(heads):
                    shares[n, layer, head, group] = sum(float(pattern[n, layer, head, q]) for q in inside)
    return shares, uniform


def test_shares_are_those_of_a_literal_loop():
    pattern, visible, members = made()
    mass, (shares, uniform) = attention_shares(pattern, visible, members), by_loop(*made())
    torch.testing.assert_close(mass.shares, shares, rtol=0, atol=1e-12)
    torch.testing.assert_close(mass.uniform, uniform, rtol=0, atol=1e-12)


def test_shares_of_a_partition_add_up_to_one():
    pattern, visible, _ = made()
    kinds = torch.randint(4, (3, 11), generator=torch.Generator().manual_seed(1))
    members = torch.stack([kinds == kind for kind in range(4)], dim=1)
    mass = attention_shares(pattern.double(), visible, members)
    torch.testing.assert_close(
        mass.shares.sum(-1), torch.ones(3, 2, 4, dtype=torch.float64), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(mass.uniform.sum(-1), torch.ones(3, 2, 1, dtype=torch.float64))


def test_an_even_row_has_the_even_shares_and_no_preference():
    _, visible, members = made()
    even = visible.double() / visible.sum(-1, keepdim=True)
    mass = attention_shares(even.expand(-1, -1, 4, -1), visible, members)
    torch.testing.assert_close(mass.shares, mass.uniform.expand_as(mass.shares))
    found = preference(mass, 0, 1)
    assert found.nan_to_num().abs().max() < 1e-12


def test_an_induction_head_prefers_the_right_labels_by_what_is_left():
    """Ten tokens: two right labels at 2 and 5, one other label at 8; the head is on the right ones alone."""
    members = torch.zeros(1, 2, 10, dtype=torch.bool)
    members[0, 0, [2, 5]], members[0, 1, 8] = True, True
    pattern = torch.zeros(1, 1, 2, 10)
    pattern[0, 0, 0, 2] = pattern[0, 0, 0, 5] = 0.5
    pattern[0, 0, 1, 2], pattern[0, 0, 1, 8], pattern[0, 0, 1, 0] = 0.1, 0.3, 0.6
    mass = attention_shares(pattern, torch.ones(1, 1, 1, 10, dtype=torch.bool), members)
    assert mass.shares[0, 0].tolist() == [pytest.approx([1.0, 0.0]), pytest.approx([0.1, 0.3])]
    assert mass.uniform[0, 0, 0].tolist() == pytest.approx([0.2, 0.1])
    assert preference(mass, 0, 1)[0, 0].tolist() == pytest.approx([1 - 2 / 3, 0.25 - 2 / 3])


def test_a_preference_for_what_is_not_there_is_undefined():
    mass = AttentionShares(
        torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]]).double(), torch.tensor([[[[0.5, 0.0]]]]).double()
    )
    assert preference(mass, 0, 1).isnan().all()
    there = AttentionShares(mass.shares, torch.tensor([[[[0.5, 0.1]]]]).double())
    found = preference(there, 0, 1)[0, 0].tolist()
    assert found[0] == pytest.approx(1 - 0.5 / 0.6) and math.isnan(found[1])


def test_shapes_that_do_not_fit_are_refused():
    pattern, visible, members = made()
    with pytest.raises(ValueError, match="do not fit"):
        attention_shares(pattern, visible, members[:, :, 1:])
    with pytest.raises(ValueError, match="sees no token"):
        attention_shares(pattern, torch.zeros_like(visible), members)
    with pytest.raises(ValueError, match="do not fit"):
        AttentionShares(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 1, 2))


def test_either_group_that_is_not_there_leaves_no_preference():
    mass = AttentionShares(torch.tensor([[[[0.0, 0.5]]]]).double(), torch.tensor([[[[0.0, 0.5]]]]).double())
    assert preference(mass, 0, 1).isnan().all() and preference(mass, 1, 0).isnan().all()


def test_heads_may_see_tokens_of_their_own():
    pattern, _, members = made()
    visible = torch.rand(3, 2, 4, 11, generator=torch.Generator().manual_seed(2)) > 0.3
    visible[..., 0] = True
    mass = attention_shares(pattern, visible, members)
    for head in range(4):
        alone = attention_shares(pattern[:, :, [head]], visible[:, :, [head]], members)
        torch.testing.assert_close(mass.shares[:, :, [head]], alone.shares)
        torch.testing.assert_close(mass.uniform[:, :, [head]], alone.uniform)


def test_every_shape_that_does_not_fit_is_refused():
    pattern, visible, members = made()
    for seen, groups in (
        (visible[:, :1], members),
        (visible.expand(-1, -1, 3, -1), members),
        (visible, members[0]),
        (visible, members[:1]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            attention_shares(pattern, seen, groups)
    one_sees_nothing = visible.clone()
    one_sees_nothing[1, 0] = False
    with pytest.raises(ValueError, match="sees no token"):
        attention_shares(pattern, one_sees_nothing, members)
    shares = torch.ones(1, 2, 3, 5)
    for uniform in (torch.ones(1, 2, 2, 5), torch.ones(1, 2, 5, 5), torch.ones(1, 3, 1, 5)):
        with pytest.raises(ValueError, match="do not fit"):
            AttentionShares(shares, uniform)
    assert AttentionShares(shares, torch.ones(1, 2, 3, 5)).uniform.shape[2] == 3
