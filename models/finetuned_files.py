"""What files tell of somebody else's finetuned model or adapter before its weights are read."""

from __future__ import annotations

from ..errors import UserError, shown
from ..text_files import exists, in_home, is_folder
from .adapter import refuse_foreign_adapter
from .adapter_folder import CONFIG as ADAPTER_CONFIG
from .adapter_folder import WEIGHTS as ADAPTER_WEIGHTS
from .adapter_folder import adapter_folder, is_adapter, open_adapter
from .checkpoint_folder import LocalFolder
from .delta import refuse_other_shapes
from .loading import LanguageModel, load_config
from .model_place import place_of
from .whole_checkpoint import class_to_load, refuse_before_loading


def holds_weights(place: str) -> bool:
    """Return whether a directory holds the weights of a model or of an adapter, whole or not."""
    folder = in_home(place)
    if not is_folder(folder):
        return False
    names = {*LocalFolder(folder).weight_files(), *ADAPTER_WEIGHTS}
    return any((folder / name).exists() for name in names)


def is_finetuned_adapter(place: str, revision: str | None = None) -> bool:
    """Return whether what somebody finetuned is an adapter, alone or beside a model."""
    return is_adapter(*place_of(place, revision))


def refuse_unfinished(place: str) -> None:
    """Refuse a path that holds no finetuned model or adapter, or only a part of one, by its files alone.

    What is no path here is left to the hub, and an embedded model is whole.

    Args:
        place: A directory or hub id.

    Raises:
        UserError: It names what is missing.
    """
    folder = in_home(place)
    if not exists(folder):
        if place.startswith(("/", ".", "~")):
            raise UserError(
                f"there is no {shown(place)}: give the folder of a finetuned model or adapter, or a hub id"
            )
        return
    if not is_folder(folder):
        raise UserError(f"{shown(place)} is a file: give the folder of a finetuned model or adapter")
    if is_adapter(str(folder)):
        open_adapter(place, adapter_folder(place)).close()
        return
    if not (folder / "config.json").exists():
        raise UserError(
            f"{shown(place)} holds no finetuned model: there is neither a config.json, nor an {ADAPTER_CONFIG}, nor "
            "a trainer's checkpoint-* folder"
        )
    refuse_before_loading(place, None)


def refuse_foreign(
    base: LanguageModel, place: str, revision: str | None = None, *, trust_remote_code: bool = False
) -> None:
    """Refuse a finetuned model or adapter of another architecture than the base's, before its weights are read.

    Args:
        base: The model before finetuning.
        place: A directory or hub id of a model or adapter, or an embedded model.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        trust_remote_code: Whether to run code that comes with it.

    Raises:
        UserError: If it is of another architecture, there is none, or a file of it is missing.
    """
    refuse_unfinished(place)
    if is_finetuned_adapter(place, revision):
        refuse_foreign_adapter(base.module, place, revision)
        return
    found, at = place_of(place, revision)
    config = load_config(found, at, trust_remote_code)
    refuse_before_loading(found, at)
    try:
        import torch

        with torch.device("meta"):
            other = class_to_load(config).from_config(config, trust_remote_code=trust_remote_code)
    except Exception:  # loading the model meets the same, and tells it
        return
    called = f"the finetuned model {shown(place if revision is None else f'{place}@{revision}')}"
    refuse_other_shapes(base, dict(other.named_parameters(remove_duplicate=False)), called)
