"""Rows of scores from queries, keys and masks of every kind, against loops over batch, head, row and key."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor

from iclprobe.hooks.rows import Rows, Wanted, keep_columns, score_rows, softmax_rows, take_rows, visible_keys

BATCH, HEADS, KEY_HEADS, WIDTH = 2, 4, 2, 4
PAST, TOKENS = 3, 5
KEYS = PAST + TOKENS
ROWS = torch.tensor([[0, 4, 2], [3, 1, 1]])
CPU = torch.device("cpu")
LOWEST = torch.finfo(torch.float32).min


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def wanted(first_column: int = 0) -> Wanted:
    return Wanted(ROWS, PAST, TOKENS, first_column)


def query_and_key(keys: int = KEYS, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    query = drawn(BATCH, HEADS, TOKENS, WIDTH, seed=1, dtype=dtype)
    return query, drawn(BATCH, KEY_HEADS, keys, WIDTH, seed=2, dtype=dtype)


def literal(query: Tensor, key: Tensor, finish: Any) -> Tensor:
    """`[B, P, H, K]`, one product at a time."""
    scores = torch.zeros(BATCH, ROWS.shape[1], HEADS, key.shape[2])
    for b in range(BATCH):
        for p, row in enumerate(ROWS[b].tolist()):
            for h in range(HEADS):
                for k in range(key.shape[2]):
                    product = float(query[b, h, row].float() @ key[b, h * KEY_HEADS // HEADS, k].float())
                    scores[b, p, h, k] = finish(product, b, h, row, k)
    return scores


def causal(b: int, row: int, column: int) -> bool:
    """Whether a token of this forward sees a key, both counted from the start of the whole sequence."""
    return column <= PAST + row


def seen(rule: Any, keys: int = KEYS) -> list[list[list[bool]]]:
    """`[B][P][K]` of a rule on the batch, the row and the key's place in the whole sequence."""
    columns = range(KEYS - keys, KEYS)
    return [[[rule(b, row, c) for c in columns] for row in ROWS[b].tolist()] for b in range(BATCH)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("space", ["raw", "scaled", "softcapped", "softmax_input"])
def test_each_space_holds_the_steps_up_to_it(
    space: Any, softcap: float | None, scaling: float | None, dtype: torch.dtype
) -> None:
    query, key = query_and_key(dtype=dtype)
    bias = drawn(BATCH, HEADS, TOKENS, KEYS, seed=3)

    def finish(product: float, b: int, h: int, row: int, k: int) -> float:
        if space == "raw":
            return product
        product *= WIDTH**-0.5 if scaling is None else scaling
        if softcap is not None and space in ("softcapped", "softmax_input"):
            product = softcap * math.tanh(product / softcap)
        return product + float(bias[b, h, row, k]) if space == "softmax_input" else product

    got = score_rows(query, key, bias, wanted(), scaling=scaling, softcap=softcap, space=space)
    torch.testing.assert_close(got.scores, literal(query, key, finish))
    assert got.scores.dtype == torch.float32
    assert got.visible.shape == (BATCH, ROWS.shape[1], 1, KEYS) and got.visible.all()
    assert got.sinks is None


def test_unasked_the_scores_are_what_the_softmax_sees_without_a_bound() -> None:
    query, key = query_and_key()
    bias = drawn(BATCH, 1, TOKENS, KEYS, seed=3)
    got = score_rows(query, key, bias, wanted(), scaling=1.0)
    expected = literal(query, key, lambda product, b, h, row, k: product + float(bias[b, 0, row, k]))
    torch.testing.assert_close(got.scores, expected)


def test_scores_keep_full_precision_under_autocast() -> None:
    query, key = query_and_key()
    plain = score_rows(query, key, None, wanted(), scaling=None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(score_rows(query, key, None, wanted(), scaling=None).scores, plain.scores)


def test_without_a_mask_a_row_sees_itself_and_what_came_before_it() -> None:
    visible, bias = visible_keys(None, wanted(), KEYS, None, CPU)
    assert visible[:, :, 0].tolist() == seen(causal) and visible.shape[2] == 1
    assert bias is None


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("keys", [KEYS, 6])
def test_a_window_ends_so_many_keys_back_and_keys_are_counted_from_the_right(window: int, keys: int) -> None:
    visible, _ = visible_keys(None, wanted(), keys, window, CPU)

    def rule(b: int, row: int, column: int) -> bool:
        return causal(b, row, column) and column > PAST + row - window

    assert visible[:, :, 0].tolist() == seen(rule, keys)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("keys", [KEYS, 6])
def test_a_mask_of_padding_alone_leaves_causality_and_window_to_the_rows(
    keys: int, window: int | None, dtype: torch.dtype
) -> None:
    padding = torch.ones(BATCH, KEYS, dtype=dtype)
    padding[0, :4] = 0
    padding[1, 2] = 0
    visible, bias = visible_keys(padding, wanted(), keys, window, CPU)

    def rule(b: int, row: int, column: int) -> bool:
        inside = window is None or column > PAST + row - window
        return causal(b, row, column) and inside and bool(padding[b, column])

    assert visible[:, :, 0].tolist() == seen(rule, keys) and bias is None


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("batch", [1, BATCH])
def test_a_whole_mask_says_what_is_seen_and_takes_the_place_of_causality_and_window(
    batch: int, heads: int
) -> None:
    allowed = drawn(batch, heads, TOKENS, KEYS + 2, seed=4) > 0
    visible, bias = visible_keys(allowed, wanted(), KEYS, 1, CPU)
    # Keys are counted from the right, and a key is visible that any head sees.
    of_rows = [[allowed[b % batch, :, row, 2:].any(0).tolist() for row in ROWS[b]] for b in range(BATCH)]
    assert visible[:, :, 0].tolist() == of_rows and visible.shape[2] == 1
    assert bias is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("heads", [1, HEADS])
def test_a_float_mask_hides_with_the_lowest_number_and_biases_with_the_others(
    heads: int, dtype: torch.dtype
) -> None:
    bias = (100 * drawn(BATCH, heads, TOKENS, KEYS, seed=5)).to(dtype)
    hidden = drawn(BATCH, heads, TOKENS, KEYS, seed=6) > 0
    # Some attention implementations hide with -inf, and some add a bias to the lowest number.
    mask = bias.masked_fill(hidden, torch.finfo(dtype).min)
    mask[:, :, :, 0] = torch.where(hidden[:, :, :, 0], -torch.inf, mask[:, :, :, 0])
    visible, got = visible_keys(mask, wanted(), KEYS, None, CPU)
    assert got is not None and got.dtype == torch.float32
    for b in range(BATCH):
        for p, row in enumerate(ROWS[b].tolist()):
            assert torch.equal(visible[b, p, 0], (~hidden[b, :, row]).any(0))
            assert torch.equal(got[b, p], bias[b, :, row].masked_fill(hidden[b, :, row], 0.0).float())


def test_a_mask_half_as_low_as_can_be_hides_and_one_above_does_not() -> None:
    mask = torch.zeros(1, 1, TOKENS, 3)
    mask[..., 0], mask[..., 1] = LOWEST / 2, 0.49 * LOWEST
    visible, _ = visible_keys(mask, Wanted(torch.tensor([[1]]), 0, TOKENS, 0), 3, None, CPU)
    assert visible[0, 0, 0].tolist() == [False, True, True]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("hides", [None, "true", "lowest"])
def test_rows_of_a_softmax_are_taken_as_they_are_and_hidden_by_lowest_numbers_or_the_mask(
    hides: str | None, flat: bool
) -> None:
    scores = drawn(BATCH, HEADS, TOKENS, KEYS, seed=7)
    scores[:, :, :, 1] = LOWEST
    scores[:, 0, :, 2] = LOWEST  # Of one head alone: the key is seen.
    scores[:, :, :, 3] = 0.49 * LOWEST
    scores[:, :, :, 4] = LOWEST / 2
    masked = drawn(BATCH, 1, TOKENS, KEYS, seed=8) > 0
    mask = {None: None, "true": masked, "lowest": torch.where(masked, LOWEST, 0.0)}[hides]
    given = scores.flatten(0, 1) if flat else scores
    got = softmax_rows(given, mask, wanted())
    for b in range(BATCH):
        for p, row in enumerate(ROWS[b].tolist()):
            assert torch.equal(got.scores[b, p], scores[b, :, row])
            hidden = masked[b, 0, row].clone() if hides else torch.zeros(KEYS, dtype=torch.bool)
            hidden[[1, 4]] = True
            hidden |= torch.arange(KEYS) > PAST + row
            assert got.visible[b, p, 0].tolist() == (~hidden).tolist()
    assert got.visible.shape == (BATCH, ROWS.shape[1], 1, KEYS) and got.sinks is None


def test_one_mask_for_the_whole_batch_hides_by_the_threshold_of_its_own_dtype() -> None:
    scores = drawn(BATCH, HEADS, TOKENS, KEYS, seed=7)
    mask = torch.zeros(1, 1, TOKENS, KEYS, dtype=torch.float16)
    mask[..., 5] = torch.finfo(torch.float16).min
    got = softmax_rows(scores.bfloat16(), mask, wanted())
    for b in range(BATCH):
        for p, row in enumerate(ROWS[b].tolist()):
            seen_keys = [c != 5 and c <= PAST + row for c in range(KEYS)]
            assert got.visible[b, p, 0].tolist() == seen_keys
    assert got.scores.dtype == torch.float32


def test_a_modules_own_mask_hides_from_half_of_the_lowest_number_on() -> None:
    scores = drawn(BATCH, HEADS, TOKENS, 4, seed=7)
    mask = torch.zeros(1, 1, TOKENS, 4)
    mask[..., :3] = LOWEST * torch.tensor([0.6, 0.5, 0.49])
    got = softmax_rows(scores, mask, Wanted(ROWS, PAST, 1, 0))
    assert got.visible[0, 0, 0].tolist() == [False, False, True, True]


def test_a_pattern_is_a_softmax_over_what_is_seen() -> None:
    scores = torch.tensor([[[[0.0, math.log(3.0), 7.0]], [[1.0, 2.0, 3.0]]]])
    visible = torch.tensor([[[[True, True, False]], [[False, False, False]]]])
    pattern = Rows(scores, visible).pattern()
    expected = [[[[0.25, 0.75, 0.0]], [[0.0, 0.0, 0.0]]]]
    torch.testing.assert_close(pattern, torch.tensor(expected))


def test_a_sink_takes_its_share_of_a_pattern_head_by_head_and_is_no_column() -> None:
    scores = torch.zeros(1, 2, 2, 3)
    sinks = torch.tensor([0.0, math.log(2.0)], dtype=torch.bfloat16)
    rows = score_rows(
        torch.zeros(1, 2, 2, WIDTH),
        torch.zeros(1, 2, 3, WIDTH),
        torch.ones(1, 1, 2, 3, dtype=torch.bool),
        Wanted(torch.tensor([[0, 1]]), 1, 2, 0),
        scaling=None,
        sinks=sinks,
    )
    pattern = rows.pattern()
    assert pattern.shape == scores.shape
    torch.testing.assert_close(pattern[:, :, 0], torch.full((1, 2, 3), 1 / 4))
    torch.testing.assert_close(pattern[:, :, 1], torch.full((1, 2, 3), 1 / 5), atol=1e-3, rtol=0)


def test_rows_of_an_output_are_copies_in_full_precision() -> None:
    tensor = drawn(BATCH, TOKENS, 3, dtype=torch.bfloat16)
    taken = take_rows(tensor, ROWS)
    assert taken.dtype == torch.float32
    for b in range(BATCH):
        for p, row in enumerate(ROWS[b].tolist()):
            assert torch.equal(taken[b, p], tensor[b, row].float())
    full = drawn(BATCH, TOKENS, 3)
    copy = take_rows(full, ROWS)
    full.zero_()
    assert copy.abs().min() > 0


def test_columns_are_kept_from_the_first_one_on_and_filled_where_a_cache_slid_past_them() -> None:
    row = torch.arange(1.0, KEYS + 1).expand(2, KEYS)
    assert (wanted(3).total, wanted(3).width) == (8, 5)
    assert keep_columns(row, wanted(3)).tolist() == [[4.0, 5.0, 6.0, 7.0, 8.0]] * 2
    assert torch.equal(keep_columns(row, wanted()), row)
    assert keep_columns(row[:, 2:], wanted()).tolist() == [[0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]] * 2
    assert keep_columns(row[:, 1:], wanted()).tolist() == [[0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]] * 2
    assert keep_columns(row[:, 2:], wanted(2)).tolist() == [[3.0, 4.0, 5.0, 6.0, 7.0, 8.0]] * 2


def test_what_is_wanted_and_what_was_read_stay_as_they_are() -> None:
    asked, read = wanted(), Rows(torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3).bool())
    width, pattern = asked.width, read.pattern()
    for result, name in ((asked, "past"), (read, "scores")):
        with pytest.raises(FrozenInstanceError):
            setattr(result, name, 7)
    assert asked.width == width and torch.equal(read.pattern(), pattern)
