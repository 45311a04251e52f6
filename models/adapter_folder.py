"""What a PEFT adapter's directory holds: its configuration and its tensors, or why it is refused."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import UserError, reason_of, shown
from ..json_text import parse_json
from ..text_files import exists, in_home, read_text
from .adapter_types import why_not_weights
from .checkpoint_folder import LocalFolder
from .plain_files import refuse_other_than_files
from .plain_weights import PLAIN_DTYPES
from .tensor_source import LONGEST_NAME, TensorSource
from .undefined_entries import undefined_entries

CONFIG = "adapter_config.json"
_TYPES: dict[str, Any] = {"bool": bool, "int": (int, float), "float": (int, float)}
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_LARGEST_CONFIG = 16 << 20
_SIZES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)")


def is_adapter(place: str, revision: str | None = None) -> bool:
    """Return whether a directory or hub repository holds an adapter, alone or beside a model."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if exists(place):
        refuse_other_than_files(Path(place))
        return (Path(place) / CONFIG).is_file()
    try:
        return find_adapter_config_file(place, revision=revision) is not None
    except (OSError, ValueError):
        return False


class OtherModel(UserError):
    """An adapter was made for a model of another shape."""


def adapter_folder(label: str, revision: str | None = None) -> Path:
    """Return where an adapter lies, fetched from the hub if it is there.

    Args:
        label: A directory or hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: If there is no adapter.
    """
    from huggingface_hub import snapshot_download

    folder = in_home(label)
    if not exists(folder):
        try:
            folder = Path(snapshot_download(label, revision=revision, allow_patterns=[CONFIG, *WEIGHTS]))
        except Exception as error:
            reason = reason_of(error)
            raise UserError(
                f"there is no adapter {label!r} ({reason.removesuffix('.')}): give a directory with {CONFIG}, or a "
                "hub id"
            ) from error
    refuse_other_than_files(folder)
    if not (folder / CONFIG).is_file():
        holds_model = " (it holds a whole model)" if (folder / "config.json").is_file() else ""
        raise UserError(
            f"adapter {label!r} has no {CONFIG}{holds_model}: give the directory that PEFT's save_pretrained wrote"
        )
    return folder


def made_for(label: str, revision: str | None = None) -> str | None:
    """Return the model that an adapter says it was made from, None where it says none."""
    try:
        said = parse_json(read_text(adapter_folder(label, revision) / CONFIG, _LARGEST_CONFIG))
        return said.get("base_model_name_or_path") or None
    except (AttributeError, OSError, ValueError, RecursionError):
        return None


def read_adapter_config(label: str, folder: Path) -> Any:
    """Return PEFT's configuration of an adapter that can be merged."""
    import peft

    try:
        said = parse_json(read_text(folder / CONFIG, _LARGEST_CONFIG))
        kind = said["peft_type"]
        hash(kind)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{CONFIG} of {label!r} is damaged, or names no peft_type: fetch the adapter again"
        ) from error
    reason = why_not_weights(said)
    if reason is not None:
        raise UserError(
            f"adapter {label!r} is {reason}, so it cannot be merged: give one that changes weights, such as LoRA"
        )
    newer = f"which the installed peft {peft.__version__} does not know: pip install -U peft"
    kinds: dict[Any, Any] = peft.PEFT_TYPE_TO_CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"adapter {label!r} is of type {shown(kind)}, {newer}")
    _refuse_types(label, said, kinds[kind])
    with telling(label, "read the configuration of", "for this model"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.PeftConfig.from_pretrained(str(folder))
    # PEFT ignores what it does not know, and only what is switched off can be ignored.
    unknown = [name for name in said if not hasattr(config, name) and said[name] and name != "runtime_config"]
    if unknown:
        raise UserError(f"{CONFIG} of {label!r} sets {', '.join(unknown)}, {newer}")
    config.inference_mode = True
    return config


def _refuse_types(label: str, said: dict[str, Any], kind: Any) -> None:
    """Refuse switches that are no true or false, and numbers that are none: PEFT takes whatever is there."""
    for entry in fields(kind):
        value = said.get(entry.name)
        kinds = _TYPES.get(getattr(entry.type, "__name__", str(entry.type)))
        if kinds is None or value is None:
            continue
        # Python counts true among the integers.
        if isinstance(value, bool) != (kinds is bool) or not isinstance(value, kinds):
            raise UserError(
                f"{CONFIG} of {label!r} says {shown(value)} for {entry.name}, which is of another type: correct it, "
                "or fetch the adapter again"
            )


def require_numbers(label: str, source: TensorSource) -> None:
    """Refuse an adapter whose tensors are no plain floats, or have entries that are NaN or infinite.

    Raises:
        UserError: It names the tensor.
    """
    for name in source.names:
        tensor = source.read(name)
        if tensor.dtype not in PLAIN_DTYPES:
            raise UserError(
                f"{some_names([name])} of adapter {label!r} is {tensor.dtype}: give an unquantised adapter"
            )
        undefined = undefined_entries(tensor)
        if undefined:
            raise UserError(
                f"{undefined} of the {tensor.numel()} entries of {some_names([name])} in adapter {label!r} are NaN "
                "or infinite: fetch the adapter again, or take one from before its training diverged"
            )


def open_adapter(label: str, folder: Path) -> TensorSource:
    """Open an adapter's tensors.

    Args:
        label: What messages call it.
        folder: Where it lies.

    Raises:
        UserError: If there are none, or the file is damaged.
    """
    local = LocalFolder(folder, label)
    for name in WEIGHTS:
        try:
            return TensorSource.of_file(label, None, local.open(name))
        except FileNotFoundError:
            continue
    raise UserError(f"adapter {label!r} holds no weights: expected {' or '.join(WEIGHTS)} beside {CONFIG}")


@contextmanager
def telling(label: str, doing: str, where: str) -> Iterator[None]:
    """Turn what PEFT raises on an adapter that does not fit into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # PEFT's methods raise what they like: assertions, lookups, whatever torch says of shapes.
        sizes = _SIZES.search(" ".join(str(error).split()))
        if sizes is not None:
            name = some_names([sizes[1]])
            raise OtherModel(
                f"{name} of adapter {label!r} has the shape {sizes[2]}, and its {CONFIG} and this model make it "
                f"{sizes[3]}: give the model that the adapter was made from, or fetch the adapter again"
            ) from error
        if isinstance(error, KeyError):
            reason = f"it lacks {some_names([str(error.args[0])])}"
        else:
            reason = reason_of(error, 120).split(". ")[0].removesuffix(".") or type(error).__name__
        raise UserError(
            f"PEFT cannot {doing} adapter {label!r} {where} ({reason}): give the model that it was made from, or the "
            "PeftModel itself, which runs unmerged"
        ) from error


def some_names(names: Sequence[str]) -> str:
    """Return the first name or two of a list, as the model's modules are called, and how many others there are."""
    own = [name.removeprefix("base_model.model.").replace(".default", "") for name in names[:2]]
    said = own if len(", ".join(own)) <= LONGEST_NAME else own[:1]
    others = len(names) - len(said)
    return ", ".join(said) + (f" and {others} {'others' if others > 1 else 'other'}" if others else "")
