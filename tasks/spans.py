"""What runs of tokens of a prompt are: where each demonstration, its label and the query stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import UserError, shown

BEGIN, TURN_HEAD, CONTEXT = "begin", "turn_head", "context"
DEMONSTRATION_INPUT, DEMONSTRATION_LABEL, SEPARATOR = (
    "demonstration_input",
    "demonstration_label",
    "separator",
)
QUERY, TURN_TAIL = "query", "turn_tail"


@dataclass(frozen=True)
class Span:
    """A run of tokens of a prompt.

    Attributes:
        name: ``begin`` (of sequence), ``turn_head`` (of a chat's user turn), ``demonstration_input``,
            ``demonstration_label``, ``separator``, ``context`` (a prefix that is not made of demonstrations),
            ``query``, ``turn_tail``; or a name of the user's.
        start: Its first token, counted from 0.
        stop: The token behind its last one.
        demonstration: Which demonstration it belongs to, counted from 0; None for no demonstration.
        label: That demonstration's label option, counted from 0.
    """

    name: str
    start: int
    stop: int
    demonstration: int | None = None
    label: int | None = None

    def __post_init__(self) -> None:
        """Refuse a run without tokens or a name."""
        if not self.name or not 0 <= self.start < self.stop:
            raise UserError(
                f"the span {shown(self.name)} from token {self.start} to {self.stop} holds no token: give it a name "
                "and a stop behind its start"
            )

    @property
    def tokens(self) -> range:
        """The tokens it holds."""
        return range(self.start, self.stop)

    def moved(self, tokens: int) -> Span:
        """Return it as many tokens further behind."""
        return replace(self, start=self.start + tokens, stop=self.stop + tokens)


def spans_in_a_row(pieces: Iterable[tuple[str, int, int | None, int | None]]) -> tuple[Span, ...]:
    """Return spans that stand one behind the other from token 0; those without tokens are left out.

    Args:
        pieces: Name, number of tokens, demonstration and label of each.
    """
    spans, start = [], 0
    for name, length, demonstration, label in pieces:
        if length:
            spans.append(Span(name, start, start + length, demonstration, label))
        start += length
    return tuple(spans)


def check_spans(spans: Sequence[Span], length: int, what: str) -> None:
    """Refuse spans that do not lie in what they are spans of.

    Args:
        spans: The spans.
        length: Its tokens.
        what: What a message calls it.

    Raises:
        UserError: If one does not.
    """
    outside = next((span for span in spans if span.stop > length), None)
    if outside is not None:
        raise UserError(
            f"the span {shown(outside.name)} ends at token {outside.stop} and {what} has {length}: give spans that "
            "lie in it"
        )
