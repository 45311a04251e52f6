"""What a measurement is given: what it runs on, opened as it asks; and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from ..models.gguf_file import is_gguf, read_gguf
from ..models.loading import LanguageModel
from ..study.arrays import Arrays
from ..study.finding import Finding
from ..study.study import Study
from .configuration import SubjectConfig
from .provenance import provenance
from .shared import Shared
from .subject import Subject, load_subject


def say_nothing(line: str) -> None:
    """Hear a line, and leave it at that."""


@dataclass(frozen=True)
class Measured:
    """What a measurement leaves.

    Attributes:
        config: What was asked, resolved: with the names of what was loaded.
        tables: Rows of each declared table by its name, and ``facts``.
        findings: What was found.
        arrays: What is heavy.
        parts: The studies that it is made of.
        provenance: What is told of where it came from, beside models, data and machine.
    """

    config: Any
    tables: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    arrays: Arrays = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Study] = field(default_factory=dict)


@dataclass
class Context:
    """What one run has at hand.

    Attributes:
        given: What is in memory in place of what the configuration names, by its field.
        folder: The run directory that is being written, for what is too large for memory.
        say: Told what is about to happen.
        shared: What runs before and after this one have in common with it.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    say: Callable[[str], None] = say_nothing
    shared: Shared = field(default_factory=Shared)
    _origins: list[dict[str, Any]] = field(default_factory=list)
    _dequantised: dict[str, str] = field(default_factory=dict)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to what is said."""
        return self.say is not say_nothing

    def subject(self, config: SubjectConfig) -> Subject:
        """Load the model and the task of a configuration, or take those in memory.

        Raises:
            UserError: If one of them cannot be loaded.
        """
        subject = load_subject(config, self.given.get("model"), self.given.get("task"), self.shared)
        origin = provenance(subject.model, subject.task, config)
        if "model" not in self.given:
            self.shared.require_unchanged(origin["model"]["weights_sha256"])
        self._origins.append(origin)
        self.note_weights(subject.model)
        return subject

    def subjects(self, config: Any) -> Iterator[tuple[Any, Subject]]:
        """Load the models of a configuration one after another, each with the task; one at a time is in memory.

        Args:
            config: A configuration with ``models``, and ``model_names`` that may be those or ``model`` alone.

        Yields:
            The configuration with that model's name, and what it runs on.

        Raises:
            UserError: If something cannot be loaded, or a model in memory is given beside names.
        """
        if "model" in self.given and config.models:
            raise UserError("give either a model in memory or the names of several models, not both")
        for name in config.model_names:
            named = config.model_copy(update={"model": name})
            yield named, self.subject(named)

    def note_weights(self, model: str | Path | LanguageModel | Any) -> None:
        """Note that the numbers are of a model's weights, which may have been dequantised."""
        if isinstance(model, LanguageModel):
            name, found = model.name, model.dequantised
        elif isinstance(model, str | Path) and is_gguf(model):
            name, found = str(model), read_gguf(Path(model)).dequantised
        else:
            return
        if found is not None:
            self._dequantised[name] = found

    def findings(self) -> Iterator[Finding]:
        """Return what limits every number of this run."""
        for name, kinds in self._dequantised.items():
            sentence = f"the weights of {shown(name)} are dequantised (its tensors are {kinds})"
            yield Finding(
                "dequantised",
                f"{sentence}: their rounding is in all numbers",
                "warning",
                where={"model": name},
            )

    def origin(self) -> dict[str, Any]:
        """Return where the numbers came from so far: of the first model, and of all by name."""
        if not self._origins:
            return {}
        return {**self._origins[0], "models": [origin["model"] for origin in self._origins]}
