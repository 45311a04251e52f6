"""What tools that wrap a model put into the names of its weights, taken out again.

`torch.compile` writes ``_orig_mod.``, FSDP ``_fsdp_wrapped_module.`` and activation checkpointing
``_checkpoint_wrapped_module.``, each in front of whatever was wrapped; DDP, DeepSpeed and `AveragedModel` write
``module.`` at the very front; a Lightning module writes the name of the attribute that holds the model, mostly
``model.``. No model of transformers calls a part of itself by the first three, nor its whole by ``module``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import UserError

_ANYWHERE = re.compile(r"(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
_FRONT = re.compile(r"^(?:module\.)+")


def unwrapped(name: str) -> str:
    """Return the name that a tensor has without the prefixes of wrappers."""
    return _FRONT.sub("", _ANYWHERE.sub(r"\1", name))


def unwrapped_names(names: Iterable[str], label: str) -> dict[str, str]:
    """Return each name with the name it has without the prefixes of wrappers.

    Args:
        names: The names of all tensors of one checkpoint.
        label: What messages call the checkpoint.

    Raises:
        UserError: If two tensors then have one name.
    """
    found = {name: unwrapped(name) for name in names}
    first: dict[str, str] = {}
    for name, bare in found.items():
        if first.setdefault(bare, name) != name:
            raise UserError(
                f"{label!r} holds {bare} twice, as {first[bare]} and as {name}: take the copy out that is not meant"
            )
    return found


def key_mapping(names: Iterable[str], own_names: Iterable[str]) -> dict[str, str]:
    """Return transformers' ``key_mapping`` that takes prefixes of wrappers out of stored names.

    Args:
        names: Stored names for which a model has no place.
        own_names: The names of the model's tensors.

    Returns:
        Patterns and what replaces them, none if no name is wrapped.
    """
    names = list(names)
    mapping = {
        # One pattern replaces one occurrence; an empty group makes the same pattern another key.
        _ANYWHERE.pattern + "(?:)" * time: r"\1"
        for time in range(max((len(_ANYWHERE.findall(name)) for name in names), default=0))
    }
    if any(_FRONT.match(_ANYWHERE.sub(r"\1", name)) for name in names):
        mapping[_FRONT.pattern] = ""
    lightning = any(unwrapped(name).startswith("model.") for name in names)
    if lightning and not any(name.startswith("model.") for name in own_names):
        mapping[r"^model\."] = ""
    return mapping
