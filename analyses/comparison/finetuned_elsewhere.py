"""Weights that somebody else finetuned, loaded one after another: the changed tensors of one are there at a time."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import shown
from ...models.adapter import merged_copy
from ...models.adapter_folder import made_for
from ...models.delta import Delta, delta_from_module
from ...models.finetuned_files import is_finetuned_adapter, refuse_foreign
from ...models.loading import LanguageModel, load_model
from ..weights.checkpoints import Checkpoint
from ..weights.step_names import short_name
from .draw import FinetunedSetting
from .finetuning_drift import finetuning_drift


class FinetunedElsewhere:
    """Gives what each finetuned model changed, and keeps the last one for other draws of demonstrations."""

    def __init__(self, model: LanguageModel, trust_remote_code: bool) -> None:
        """Take note of the model that they were made from.

        Args:
            model: The model; it is left as it is.
            trust_remote_code: Whether to run code that comes with a finetuned model.
        """
        self._model = model
        self._trusted = trust_remote_code
        self._last: tuple[Checkpoint, Delta, FinetunedSetting] | None = None

    def check(self, finetuned: Iterable[Checkpoint]) -> None:
        """Refuse what cannot have been made from the model, as far as files tell without their weights.

        Raises:
            UserError: If one is of another architecture, or there is none.
        """
        for one in finetuned:
            refuse_foreign(self._model, one.model, one.revision, trust_remote_code=self._trusted)

    def take(self, one: Checkpoint) -> tuple[Delta, FinetunedSetting]:
        """Return what a finetuned model changed, and where it came from.

        Raises:
            UserError: If it cannot be loaded, was not made from the model, or is the same.
        """
        if self._last is None or self._last[0] != one:
            self._last = None  # Or the last one would be in memory while the next is loaded.
            delta = self._delta(one)
            drift, notes = finetuning_drift(self._model, delta), _notes(self._model, one)
            setting = FinetunedSetting(one.place, delta.n_parameters, None, None, (), drift, notes)
            self._last = one, delta, setting
        return self._last[1:]

    def _delta(self, one: Checkpoint) -> Delta:
        model = self._model
        if is_finetuned_adapter(one.model, one.revision):
            # An adapter belongs on the very weights that are compared, so it is merged into a copy of them.
            merged = merged_copy(model.module, one.model, one.revision)
            return delta_from_module(model, merged, called=one.place, copied=False)
        other = load_model(
            one.model,
            revision=one.revision,
            tokenizer=model.tokenizer,
            dtype=model.dtype,
            device=model.device,
            trust_remote_code=self._trusted,
        )
        return delta_from_module(model, other, called=one.place, copied=False)


def _notes(model: LanguageModel, one: Checkpoint) -> tuple[str, ...]:
    """Tell where an adapter says that it was made from a model of another name, for equal shapes fit any weights."""
    base = made_for(one.model, one.revision) if is_finetuned_adapter(one.model, one.revision) else None
    if not base or short_name(base).lower() == short_name(model.name).lower():
        return ()
    return (
        f"the adapter was made from {shown(base)} by what it says, and is put on {shown(model.name)}: see that these "
        "are the same weights",
    )
