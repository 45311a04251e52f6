"""What runs that follow each other have in common: a model, its records, and what was recorded of it last."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..study.plain_values import plain
from .configuration import SubjectConfig

if TYPE_CHECKING:
    from ..models.loading import LanguageModel

Value = TypeVar("Value")

_MODEL = ("model", "revision", "adapter", "tokenizer", "trust_remote_code", "dtype", "device")
# What is finetuned, and how answers are compared, is asked after the pretrained model was recorded.
_AFTERWARDS = {"recipes", "recipe", "finetuned", "steps", "revision_template", "learning_rate", "held_out"}
_AFTERWARDS |= {"score_variant", "agreement", "resamples", "level", "save_captures"}
_AFTERWARDS |= {"keep_rows", "keep_maps", "keep_megabytes"}
_OF_A_DRAW = {"shots", "seeds", "order", "balanced", "strict_shots", "match_demonstrations", "null_draws"}


def model_key(config: SubjectConfig) -> str:
    """Return what tells loaded models apart."""
    return _key({name: getattr(config, name) for name in _MODEL})


def zero_shot_key(config: SubjectConfig) -> str:
    """Return what tells recordings without demonstrations apart, beside their prompts."""
    return _key(config.model_dump(exclude=_AFTERWARDS | _OF_A_DRAW))


def recording_key(config: SubjectConfig) -> str:
    """Return what tells recordings of the pretrained model apart, beside the number of shots and the seed."""
    return _key(config.model_dump(exclude=_AFTERWARDS | {"shots", "seeds"}))


def _key(values: Any) -> str:
    return json.dumps(plain(values), sort_keys=True, ensure_ascii=False)


@dataclass
class Shared:
    """What is in memory, of each kind the last one.

    A run that needs what another one has needed before takes it; what nobody asks for next is let go of before the
    other one is made, so that no two of a kind are in memory.
    """

    _kept: dict[str, tuple[Hashable, Any]] = field(default_factory=dict)
    _weights: str | None = None

    def once(self, kind: str, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the last of a kind if it has a key, else make it.

        Args:
            kind: What it is.
            key: What tells those of a kind apart.
            make: What makes it.
        """
        kept = self._kept.get(kind)
        if kept is None or kept[0] != key:
            self._kept.pop(kind, None)
            kept = None
            self._kept[kind] = kept = (key, make())
        return kept[1]

    def last(self, kind: str, key: Hashable) -> Any:
        """Return the last of a kind if it has a key, else None."""
        kept = self._kept.get(kind)
        return kept[1] if kept is not None and kept[0] == key else None

    def keep(self, kind: str, key: Hashable, value: Any) -> None:
        """Keep a value as the last of its kind."""
        self._kept[kind] = (key, value)

    def model(self, config: SubjectConfig, load: Callable[[], LanguageModel]) -> LanguageModel:
        """Return the model of a configuration; with another one, everything recorded of the last is let go of."""
        key = model_key(config)
        if self.last("model", key) is None:
            self._kept = {kind: kept for kind, kept in self._kept.items() if kind == "records"}
            self._weights = None
        return self.once("model", key, load)

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self._weights = None

    def require_unchanged(self, weights_sha256: str | None) -> None:
        """Refuse a model whose weights are not those it was loaded with.

        Raises:
            RuntimeError: If a run left them changed.
        """
        if self._weights is None:
            self._weights = weights_sha256
        elif weights_sha256 != self._weights:
            self._kept.clear()
            raise RuntimeError("an earlier run left the weights of the model changed")
