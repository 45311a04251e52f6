"""Does a field say what the label is?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# So many of the records of a leaking field have the one value of their label, and values repeat so often: a few
# records may be odd.
_SHARE, _REPEATED = 0.9, 4


def says_the_label(values: Sequence[str], labels: Sequence[int]) -> bool:
    """Whether a field is the label under another name, such as the `label_text` that stands beside a `label`.

    That is a field in which nearly every record has the value that is most common for its label, and that value is
    another one for each label: texts, which hardly repeat, are not like that.

    Args:
        values: `[N]` the field of each record.
        labels: `[N]` their labels.
    """
    by_label: dict[int, Counter[str]] = {}
    for value, label in zip(values, labels, strict=True):
        by_label.setdefault(label, Counter())[value] += 1
    typical = {label: counts.most_common(1)[0] for label, counts in by_label.items()}
    told = sum(count for _, count in typical.values())
    if len({value for value, _ in typical.values()}) < len(by_label) or len(by_label) < 2:
        return False
    if told == len(values):
        return min(count for _, count in typical.values()) > 1
    return len(values) >= _REPEATED * len(set(values)) and told >= _SHARE * len(values)
