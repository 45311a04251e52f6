"""Label words that no score could tell apart are refused, each scoring by its own rule."""

from __future__ import annotations

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.label_words import check_label_words

DIFFERENT = [((5,), (6,)), ((5,), (6,))]
SAME_START = [((5, 1), (5, 2))]
ONE_BEGINS_THE_OTHER = [((5,), (5, 2))]
EQUAL = [((5,), (6,)), ((5, 7), (5, 7))]


@pytest.mark.parametrize("scoring", ["mean", "sum", "first"])
def test_different_first_tokens_are_always_fine_and_equal_tokens_never(scoring: str) -> None:
    check_label_words(DIFFERENT, scoring)
    with pytest.raises(UserError, match="label words 'no' and 'yes' have the same tokens"):
        check_label_words(EQUAL, scoring, ("no", "yes"))


def test_a_shared_first_token_matters_to_the_scoring_by_it() -> None:
    check_label_words(SAME_START, "mean")
    check_label_words(SAME_START, "sum")
    with pytest.raises(UserError, match="label words 0 and 1 begin with the same token"):
        check_label_words(SAME_START, "first")


def test_an_option_that_continues_another_can_never_win_by_sum() -> None:
    check_label_words(ONE_BEGINS_THE_OTHER, "mean")
    with pytest.raises(UserError, match="can never be chosen"):
        check_label_words(ONE_BEGINS_THE_OTHER, "sum")
    with pytest.raises(UserError, match="'first' cannot tell"):
        check_label_words(ONE_BEGINS_THE_OTHER, "first")


def test_every_pair_and_every_query_is_checked() -> None:
    with pytest.raises(UserError, match="'a' and 'c'"):
        check_label_words([((1,), (2,), (3,)), ((1,), (2,), (1,))], "mean", ("a", "b", "c"))


def test_an_unknown_scoring_is_refused() -> None:
    with pytest.raises(UserError, match="no label scoring 'max': choose from mean, sum, first"):
        check_label_words(DIFFERENT, "max")
