"""Can the label words be told apart once they are tokens?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ..errors import UserError, shown

SCORINGS = ("mean", "sum", "first")
"""How an option is scored: log-probability per token, of the whole continuation, or of its first token."""


def check_label_words(
    label_ids: Sequence[Sequence[Sequence[int]]],
    scoring: str = "mean",
    label_words: Sequence[str] = (),
) -> None:
    """Refuse label words whose scores could never tell them apart.

    Equal tokens make two options one, whatever the scoring. Under `first` an equal first token does. Under
    `sum` an option that begins with another one can never win, as every further token only lowers its score.
    Under `mean` both are told apart.

    Args:
        label_ids: `[N][C]` continuations, as in `PromptSet.label_ids`.
        scoring: One of `SCORINGS`.
        label_words: The C words, to name them in the error; without them their numbers are named.

    Raises:
        UserError: When two options collide for some query.
    """
    if scoring not in SCORINGS:
        raise UserError(f"There is no label scoring {shown(scoring)}: choose from {', '.join(SCORINGS)}.")
    for options in {tuple(tuple(ids) for ids in options) for options in label_ids}:
        for first, second in combinations(range(len(options)), 2):
            _check_pair(options[first], options[second], scoring, _names(label_words, first, second))


def _check_pair(one: tuple[int, ...], other: tuple[int, ...], scoring: str, names: str) -> None:
    if one == other:
        raise UserError(f"The {names} have the same tokens with this tokenizer: choose words that differ.")
    if scoring == "first" and one[0] == other[0]:
        raise UserError(
            f"The {names} begin with the same token with this tokenizer, so the scoring 'first' cannot tell "
            "them apart: choose other words, or score by 'mean'."
        )
    shared = min(len(one), len(other))
    if scoring == "sum" and one[:shared] == other[:shared]:
        raise UserError(
            f"One of the {names} begins with all tokens of the other, so under the scoring 'sum' it can "
            "never be chosen: choose other words, or score by 'mean'."
        )


def _names(label_words: Sequence[str], first: int, second: int) -> str:
    if not label_words:
        return f"label words {first} and {second}"
    return f"label words {label_words[first]!r} and {label_words[second]!r}"
