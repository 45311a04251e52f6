"""Loading a model whose every weight comes from its checkpoint, and whose checkpoint is used whole.

transformers draws what a checkpoint lacks at random and leaves out what it cannot place, with a warning. Here both
are refused, and so is what it does not notice: two tensors for one place, experts that are numbered with gaps (they
are stacked in order), and integers taken for weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..errors import shown as quoted
from ..text_files import is_folder
from .checkpoint_config import config_of
from .checkpoint_folder import LocalFolder, cached_folder, open_folder
from .config_entries import refuse_foreign_width
from .gguf_file import is_gguf, read_gguf
from .gguf_model import load_gguf, refuse_other_model
from .plain_weights import PLAIN_DTYPES, is_plain
from .tensor_source import TensorSource, told
from .undefined_entries import undefined_entries
from .wrapper_prefixes import key_mapping, unwrapped_names

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Characters of tensors' names and of what is wrong in a message; of more only the first is told.
_LONGEST_NAMES, _LONGEST_FAULTS = 80, 125
# What older versions of transformers (fairseq, for `version`) stored though it is computed, and a counter of
# torch.optim.swa_utils.AveragedModel.
_COMPUTED = re.compile(
    r"(^|\.)((attn|attention)\.(bias|masked_bias|causal_mask)"
    r"|rotary_emb\.(inv_freq|cos_cached|sin_cached)|position_ids|decoder\.version)$|^n_averaged$"
)
# Parts beside a causal language model: they read or judge its states and take no part in its logits. A classifier's
# head is none of these, for its checkpoint was trained without the model's own head.
_BESIDE = re.compile(
    r"(?:model\.)?(vision_tower|vision_model|visual|audio_tower|multi_modal_projector|mm_projector|embed_vision"
    r"|embed_audio|v_head)\."
)
_EXPERT = re.compile(r"(?<=\.experts\.)[^.]+(?=\.)")


def load_whole(place: str, config: PretrainedConfig, **options: Any) -> Any:
    """Load a causal language model and make sure that its weights are the checkpoint's.

    What wrappers put in front of names (`wrapper_prefixes`) is taken out. Of what a checkpoint lacks, tied weights
    pass; of what it holds too much, computed buffers and parts beside the language model.

    Args:
        place: A directory, hub id or GGUF file.
        config: Its configuration.
        options: What ``AutoModelForCausalLM.from_pretrained`` takes besides.

    Raises:
        UserError: If tensors are missing, have no place, have another shape, are there twice, or are no numbers.
    """
    model_class = class_to_load(config)
    gguf = read_gguf(Path(place)) if is_gguf(place) else None

    def load(**more: Any) -> tuple[Any, dict[str, Any]]:
        loaded: Any
        with _report_taken(place):
            arguments = {"output_loading_info": True, "ignore_mismatched_sizes": True, **options, **more}
            if gguf is not None:
                return load_gguf(gguf, model_class, **arguments)
            loaded = model_class.from_pretrained(place, **arguments)
        return loaded

    refuse_before_loading(place, options.get("revision"))
    folder = local_folder(place, options.get("revision"))
    module, report = load()
    mapping = key_mapping(report["unexpected_keys"], module.state_dict())
    if mapping:
        del module
        module, report = load(key_mapping=mapping)
        _forget(module, mapping)
    _refuse_disagreement(place, module, report)
    if gguf is not None:
        refuse_other_model(gguf, module)
    _refuse_undefined(place, module)
    if folder is not None and not _quantised(module):
        with open_folder(folder) as source:
            _refuse_doubtful_places(module, source, mapping)
    return module


def class_to_load(config: PretrainedConfig) -> Any:
    """Return the class of transformers that loads a model: with all that it sees and hears where it has no other."""
    from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
    from transformers.models.auto import modeling_auto

    name, remote = config.model_type, getattr(config, "auto_map", None) or {}
    wraps = (
        name in modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
        and name not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )
    return (
        AutoModelForMultimodalLM if wraps and "AutoModelForCausalLM" not in remote else AutoModelForCausalLM
    )


def refuse_before_loading(place: str, revision: str | None) -> None:
    """Refuse what must not be built: weights that are unreadable, or of another width than their configuration.

    No weight is read, only where each of them lies; of what is not on this machine nothing is said.

    Args:
        place: A directory or hub id.
        revision: The revision asked for.

    Raises:
        UserError: If a file is missing or damaged, or does not go with ``config.json``.
    """
    folder = local_folder(place, revision)
    if folder is None:
        return
    with open_folder(folder) as source:
        shapes = [source.stored(name).shape for name in source.names]
        if isinstance(source.config, dict) and not source.config.get("quantization_config"):
            refuse_foreign_width(source.label, config_of(source), shapes)


def local_folder(place: str, revision: str | None) -> LocalFolder | None:
    """Return where the files of a checkpoint lie on this machine, None if they do not."""
    return LocalFolder(Path(place)) if is_folder(place) else cached_folder(place, revision)


def refuse_gaps(label: str, names: Iterable[str]) -> None:
    """Refuse experts that are not numbered from 0 without a gap: in a stack each would take another's place.

    Args:
        label: What messages call the checkpoint.
        names: The names as they are stored, for in their order experts are stacked, wrappers and all.

    Raises:
        UserError: If they are not.
    """
    held: dict[str, dict[str, set[str]]] = {}
    for name in names:
        if (found := _EXPERT.search(name)) is not None:
            stack = held.setdefault(name[: found.start()], {}).setdefault(name[found.end() :], set())
            stack.add(found[0])
    for front, stacks in held.items():
        wanted = {str(number) for number in range(max(map(len, stacks.values())))}
        for ending, numbers in stacks.items():
            if numbers != wanted and any(number.isdecimal() for number in numbers):
                raise UserError(
                    f"{label!r} does not number {front}*{ending} from 0 to {len(wanted) - 1} "
                    f"(see {', '.join(sorted(numbers ^ wanted)[:3])}), and experts are taken in order: fetch it again"
                )


def _refuse_disagreement(place: str, module: Any, report: Mapping[str, Any]) -> None:
    """Refuse what transformers reports as missing, without a place, or of another shape."""
    own = set(module.state_dict())
    missing = set(report["missing_keys"])
    surplus = {name for name in report["unexpected_keys"] if not _passes(name, module, own)}
    shapes = sorted(
        (name, tuple(stored), tuple(wanted)) for name, stored, wanted in report["mismatched_keys"]
    )
    settings = "settings" if is_gguf(place) else "config.json"
    kind = f"those of its {settings} ({type(module).__name__})"
    if missing >= own:
        called = _few(report["unexpected_keys"]) or "nothing"
        raise UserError(
            f"the weights of {place!r} are not {kind}: none of its {len(own)} tensors is there, they are "
            f"called {called}; save the state dict itself, under transformers' names"
        )
    shown = 2 if bool(missing) + bool(surplus) + bool(shapes) == 1 else 1
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(own)} tensors missing ({_few(missing, shown)})")
    if surplus:
        faults.append(f"{len(surplus)} without a place ({_few(surplus, shown)})")
    if shapes:
        name, stored, wanted = shapes[0]
        others = f" and {len(shapes) - 1} more of another shape" if len(shapes) > 1 else ""
        faults.append(f"{name} {list(stored)} in place of {list(wanted)}{others}")
    if faults:
        said = ", ".join(faults)
        if len(said) > _LONGEST_FAULTS:
            said = f"{faults[0]}, and more" if len(faults) > 1 else said
        raise UserError(
            f"the weights of {quoted(place)} are not {kind}: {said}; correct {settings}, or fetch them again"
        )


def _passes(name: str, module: Any, own: set[str]) -> bool:
    """Return whether a stored tensor without a place may be left out."""
    buffers = [buffer for buffer, _ in module.named_buffers()]
    if _COMPUTED.search(name) or any(f".{buffer}".endswith(f".{name}") for buffer in buffers):
        return True
    beside = _BESIDE.match(name)
    return beside is not None and not any(f".{beside[1]}." in f".{each}" for each in own)


def _refuse_undefined(place: str, module: Any) -> None:
    """Refuse weights with entries that are NaN or infinite, of which every number would be one."""
    found: dict[str, tuple[int, int]] = {}
    for name, tensor in module.named_parameters():
        if is_plain(tensor) and tensor.numel():
            undefined = undefined_entries(tensor.detach())
            if undefined:
                found[name] = (undefined, tensor.numel())
    if not found:
        return
    name, (undefined, entries) = next(iter(found.items()))
    others = f", and {len(found) - 1} more tensors hold such" if len(found) > 1 else ""
    raise UserError(
        f"{undefined} of the {entries} entries of {name} in {place!r} are NaN or infinite as "
        f"{str(module.dtype).removeprefix('torch.')}{others}: fetch the checkpoint again, "
        "or load it with another dtype"
    )


def _refuse_doubtful_places(module: Any, source: TensorSource, mapping: Mapping[str, str]) -> None:
    """Refuse stored tensors that share a place, or are no plain floats where weights belong."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, rename_source_key

    names = unwrapped_names(source.names, source.label)
    conversions = get_model_conversion_mapping(module, dict(mapping) or None)
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    renamings: list[Any] = [each for each in conversions if not isinstance(each, WeightConverter)]
    own = module.state_dict()
    whole: dict[str, str] = {}
    parts: dict[str, str] = {}
    for name in sorted(names):
        place, pattern = rename_source_key(name, renamings, converters, module.base_model_prefix, own)
        if place not in own:
            continue
        if pattern is None and whole.setdefault(place, name) != name:
            raise _shared(source.label, place, whole[place], name)
        if pattern is not None:
            parts[place] = name
        dtype = source.stored(name).dtype
        if own[place].is_floating_point() and dtype not in PLAIN_DTYPES:
            raise UserError(
                f"{source.label!r} holds {name} as {dtype}, and its config.json does not say how that is quantised: "
                "give the unquantised checkpoint"
            )
    for place in whole.keys() & parts.keys():
        raise _shared(source.label, place, whole[place], parts[place])
    refuse_gaps(source.label, names)


def _shared(label: str, place: str, one: str, other: str) -> UserError:
    return UserError(
        f"{label!r} holds two tensors for {place}, {one} and {other}: take the one out that is not meant"
    )


def _quantised(module: Any) -> bool:
    return getattr(module.config, "quantization_config", None) is not None


def _few(names: Iterable[str], shown: int = 2) -> str:
    ordered = sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
    some = [told(name) for name in ordered[:shown]]
    if len(", ".join(some)) > _LONGEST_NAMES:
        some = some[:1]
    return ", ".join(some) + (", …" if len(ordered) > len(some) else "")


def _forget(module: Any, mapping: Mapping[str, str]) -> None:
    """Keep `save_pretrained` from writing the wrappers again: it turns every renaming round, and garbles these."""
    kept = getattr(module, "_weight_conversions", None)
    if kept is not None:
        module._weight_conversions = [
            each for each in kept if not mapping.keys() & set(each._original_source_patterns)
        ]


@contextmanager
def _report_taken(place: str) -> Iterator[None]:
    """Leave out transformers' table of what did not fit, which one sentence takes the place of.

    Raises:
        UserError: If the table tells of tensors that could not be brought into the architecture's layout.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    reports: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "LOAD REPORT" in text:
            reports.append(text)
        return "LOAD REPORT" not in text and "checkpoint seem corrupted" not in text

    logger.addFilter(keep)
    try:
        yield
    except RuntimeError as error:
        failed = re.findall(r"^(\S+) +\| +CONVERSION", "\n".join(reports), re.MULTILINE)
        if not failed:
            raise
        raise UserError(
            f"the weights of {place!r} cannot be put together to {_few(failed)}: their shapes or their number are "
            "not those of config.json, so fetch the checkpoint again"
        ) from error
    finally:
        logger.removeFilter(keep)
