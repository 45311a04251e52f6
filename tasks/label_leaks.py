"""Does a field say what the label is?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def says_the_label(values: Sequence[str], labels: Sequence[int]) -> bool:
    """Whether a field is the label under another name, such as the `label_text` that stands beside a `label`.

    That is a field with as many values as there are labels, one for each, every one of them seen more than once:
    texts are not like that.

    Args:
        values: `[N]` the field of each record.
        labels: `[N]` their labels.
    """
    pairs = Counter(zip(values, labels, strict=True))
    one_each = len(pairs) == len(set(values)) == len(set(labels)) > 1
    return one_each and min(pairs.values()) > 1
