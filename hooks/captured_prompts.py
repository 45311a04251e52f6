"""What the rows of a capture are about: the tokens of its prompts, what they say, and where each part stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, overload

from torch import Tensor

from ..tasks.prompts import PromptSet
from ..tasks.spans import Span


@dataclass(frozen=True)
class CapturedPrompt:
    """One whole prompt, from its first token to where the answer stands.

    Attributes:
        ids: Its token ids.
        tokens: What each token says, with the space in front of a word.
        spans: What its runs of tokens are.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[Span, ...]

    def tokens_of(self, name: str) -> tuple[int, ...]:
        """Return which of its tokens stand in spans of a name, counted from 0, in order."""
        return tuple(sorted({token for span in self.spans if span.name == name for token in span.tokens}))


@dataclass(frozen=True, repr=False)
class CapturedPrompts(Sequence[CapturedPrompt]):
    """The N prompts of a capture, in its order.

    Attributes:
        prompt_set: Their token ids and spans.
        texts: What each token says, by its id.
        setting: In which setting they ran, such as ``icl``; None where nobody said.
    """

    prompt_set: PromptSet
    texts: Mapping[int, str]
    setting: str | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return self.prompt_set.n

    def __repr__(self) -> str:
        """Say how many there are, and in which setting they ran."""
        return f"<{len(self)} prompts{f' ({self.setting})' if self.setting else ''}>"

    @overload
    def __getitem__(self, place: int) -> CapturedPrompt: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[CapturedPrompt, ...]: ...
    def __getitem__(self, place: int | slice) -> CapturedPrompt | tuple[CapturedPrompt, ...]:
        """Return one prompt, or several."""
        if isinstance(place, slice):
            return tuple(self[index] for index in range(len(self))[place])
        index = range(len(self))[place]
        ids = self.prompt_set.full_ids(index)
        return CapturedPrompt(ids, tuple(self.texts[token] for token in ids), self.prompt_set.spans(index))

    def __iter__(self) -> Iterator[CapturedPrompt]:
        """Go through them."""
        return (self[index] for index in range(len(self)))

    def select(self, indices: Tensor) -> CapturedPrompts:
        """Return some of them."""
        own, chosen = self.prompt_set, [int(index) for index in indices]

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[index] for index in chosen) if values else ()

        return replace(
            self,
            prompt_set=replace(
                own,
                query_ids=some(own.query_ids),
                label_ids=some(own.label_ids),
                gold=some(own.gold),
                query_spans=some(own.query_spans),
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {"prompt_set": asdict(self.prompt_set), "texts": dict(self.texts), "setting": self.setting}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CapturedPrompts:
        """Read what `to_json` returned.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another kind.
        """
        given = dict(values["prompt_set"])
        given["prefix_spans"] = _spans(given["prefix_spans"])
        given["query_spans"] = tuple(_spans(spans) for spans in given["query_spans"])
        texts = {int(token): str(text) for token, text in values["texts"].items()}
        return cls(PromptSet(**given), texts, values["setting"])


def _spans(values: Sequence[Mapping[str, Any]]) -> tuple[Span, ...]:
    return tuple(Span(**span) for span in values)
