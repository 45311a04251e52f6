"""Merging a PEFT adapter into a model, or refusing it: what was merged does what PEFT does unmerged."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .adapter_folder import (
    CONFIG,
    OtherModel,
    adapter_folder,
    open_adapter,
    read_adapter_config,
    require_numbers,
    some_names,
    telling,
)
from .live_adapter import acting_tensors, carries_adapter, plain_names
from .live_module import running_eagerly
from .meta_model import meta_copy

_HALF = (torch.float16, torch.bfloat16)
_PROBE_TOKENS = 16
_TOLERANCE = 1e-3
_TOLD_ROUNDING = 0.01


def merge_adapter(module: Any, adapter: str | Path, revision: str | None = None) -> Any:
    """Merge an adapter into a model's weights and return the model, which then does what PEFT's does unmerged.

    In half precision the sum of weight and adapter is rounded; what that takes of the adapter is told in a warning.

    Args:
        module: A module of transformers. Its weights are changed; where the adapter is refused it is left half done.
        adapter: A directory with ``adapter_config.json``, or a hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: If there is no such adapter, it does not belong to this model or holds only a part of what its
            configuration says, or merging would change what it does.
    """
    label = str(adapter)
    opened = _open(label, module, revision)
    tied = _tied_modules(module)
    wrapped, result = _wrap(label, module, opened)
    _refuse_tied(label, module, tied, opened.folder)
    _refuse_keys(label, wrapped, result, opened.stored)
    if module.dtype in _HALF:
        _tell_rounding(label, module)
        return _merged(label, wrapped)
    with telling(label, "run", "on this model"):
        unmerged = _probe(module)
    merged = _merged(label, wrapped)
    error = (_probe(merged) - unmerged).abs().max().item()
    # A NaN is no equality either.
    if not error <= _TOLERANCE * unmerged.abs().max().item():
        raise UserError(
            f"merging adapter {label!r} changes what it does (a logit by {error:.2g}): give the PeftModel itself, "
            "which runs unmerged"
        )
    return merged


def refuse_foreign_adapter(module: Any, adapter: str | Path, revision: str | None = None) -> None:
    """Refuse an adapter that `merge_adapter` would refuse, as far as that shows without the model's weights.

    Args:
        module: A module of transformers, which is left as it is.
        adapter: A directory with ``adapter_config.json``, or a hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: If there is no such adapter, it does not belong to this model or holds only a part of what its
            configuration says.
    """
    label = str(adapter)
    opened = _open(label, module, revision)
    try:
        unweighted = meta_copy(module)
    except Exception:  # a module may compute while it is built
        return
    tied = _tied_modules(unweighted)
    try:
        wrapped, result = _wrap(label, unweighted, opened)
    except OtherModel:
        raise
    except UserError:
        # What begins from the model's weights cannot be put into one without them: merging tells.
        return
    _refuse_tied(label, unweighted, tied, opened.folder)
    _refuse_keys(label, wrapped, result, opened.stored)


@dataclass(frozen=True)
class _Opened:
    """An adapter's files: where they lie, PEFT's configuration of it, and the names of its tensors."""

    folder: Path
    config: Any
    stored: tuple[str, ...]


def _open(label: str, module: Any, revision: str | None) -> _Opened:
    try:
        import peft  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UserError(f"adapter {label!r} needs peft: pip install 'iclprobe[peft]'") from error
    if carries_adapter(module):
        raise UserError(
            f"adapter {label!r} cannot be merged into a {type(module).__name__} that carries another: merge that "
            "one first (merge_and_unload())"
        )
    if any(parameter.is_meta for parameter in module.parameters()):
        raise UserError(
            f"adapter {label!r} cannot be merged into weights that are offloaded: load the model on devices that "
            "hold it whole"
        )
    folder = adapter_folder(label, revision)
    with open_adapter(label, folder) as source:
        require_numbers(label, source)
        stored = tuple(source.names)
    return _Opened(folder, read_adapter_config(label, folder), stored)


def _wrap(label: str, module: Any, opened: _Opened) -> tuple[Any, Any]:
    """Put an adapter into a model, and return PEFT's model with what it says of the adapter's tensors."""
    import peft

    with (
        telling(label, "put", "into this model"),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        # What PEFT warns of is refused, or concerns training.
        warnings.simplefilter("ignore")
        wrapped = peft.PeftModel(module, opened.config)
        keys = getattr(module, "_checkpoint_conversion_mapping", None)
        # The tensors of a model without weights are read all the same, for their shapes.
        place = _device(module).replace("meta", "cpu")
        return wrapped, wrapped.load_adapter(
            str(opened.folder), "default", torch_device=place, key_mapping=keys
        )


def merged_copy(module: Any, adapter: str | Path, revision: str | None = None) -> Any:
    """Return a copy of a live model with an adapter merged into it; the model itself stays as it is.

    Raises:
        UserError: As `merge_adapter` does.
    """
    return merge_adapter(module if carries_adapter(module) else copy.deepcopy(module), adapter, revision)


def _tied_modules(module: torch.nn.Module) -> dict[str, str]:
    """Return the names of modules that share their weight, each with another that it shares it with."""
    owners: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    shared = [names for names in owners.values() if len(names) > 1]
    return {name: names[0] if name != names[0] else names[1] for names in shared for name in names}


def _refuse_tied(label: str, module: torch.nn.Module, tied: Mapping[str, str], folder: Path) -> None:
    touched = [name for name in tied if carries_adapter(module.get_submodule(name))]
    if touched:
        raise UserError(
            f"adapter {label!r} acts on {touched[0]}, which shares its weight with {tied[touched[0]]}, and merging "
            "would change both: give the PeftModel itself, which runs unmerged, or an adapter that leaves embeddings "
            "alone"
        )
    keys = {name: f"base_model.model.{name}.weight" for name in tied}
    with open_adapter(label, folder) as source:
        whole = {name: source.read(key) for name, key in keys.items() if key in source.names}
    for name, tensor in whole.items():
        if tied[name] in whole and not torch.equal(tensor, whole[tied[name]]):
            raise UserError(
                f"adapter {label!r} holds {name} and {tied[name]}, which are one weight in this model and differ in "
                "the adapter: give a base model that is saved with untied embeddings"
            )


def _refuse_keys(label: str, wrapped: Any, result: Any, stored: Iterable[str]) -> None:
    """Refuse an adapter of which something fits nothing in the model, or of which something is missing."""
    import peft

    unexpected = list(result.unexpected_keys)
    if unexpected:
        raise OtherModel(
            f"{some_names(unexpected)} of adapter {label!r} fit nothing in this "
            f"{type(wrapped.get_base_model()).__name__}: give the model that it was made for"
        )
    missing = list(result.missing_keys)
    if wrapped.peft_config["default"].to_dict().get("bias", "none") != "none":
        # Trained biases are no tensors of the adapter's layers, so PEFT does not miss them.
        held = {key.replace(".base_layer.", ".") for key in stored}
        expected = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        missing += [
            key for key in expected if key.endswith(".bias") and key.replace(".base_layer.", ".") not in held
        ]
    if missing:
        raise UserError(
            f"adapter {label!r} lacks {some_names(missing)}, which its {CONFIG} asks for here: "
            "fetch it again, or give the model that it was made for"
        )


def _device(module: torch.nn.Module) -> str:
    return str(next(module.parameters()).device)


@torch.no_grad()
def _probe(module: Any) -> Tensor:
    """Return the logits of some tokens, which tell whether two forms of a model do the same."""
    embedding = module.get_input_embeddings()
    vocabulary = module.config.get_text_config().vocab_size
    step = max(1, vocabulary // _PROBE_TOKENS)
    ids = torch.arange(1, vocabulary, step)[None, :_PROBE_TOKENS].to(embedding.weight.device)
    training = module.training
    module.eval()
    try:
        with running_eagerly():
            return module(input_ids=ids, use_cache=False).logits.detach().double().cpu()
    finally:
        module.train(training)


def _merged(label: str, wrapped: Any) -> Any:
    with telling(label, "merge", "into this model"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrapped.merge_and_unload()


def _tell_rounding(label: str, module: Any) -> None:
    """Warn of what is lost of an adapter when its sum with a weight in half precision is rounded."""
    own = {plain: module.get_parameter(name) for name, plain in plain_names(module).items()}
    lost = changed = 0.0
    for name, tensor in acting_tensors(module).items():
        if name not in own or tensor.dtype == own[name].dtype:
            continue
        exact = tensor.read()
        lost += (exact.to(own[name].dtype).float() - exact).double().square().sum().item()
        changed += (exact - own[name].detach().float()).double().square().sum().item()
    share = math.sqrt(lost / changed) if changed else 0.0
    if share > _TOLD_ROUNDING:
        dtype = str(module.dtype).removeprefix("torch.")
        warnings.warn(
            f"merging adapter {label!r} into {dtype} weights rounds {share:.0%} of it away (in the norm of the "
            "change): load with dtype float32 to keep it exact",
            stacklevel=2,
        )
