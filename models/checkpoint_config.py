"""What a checkpoint's configuration says about its attention weights: family, layers, head counts, quantisation."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import UserError, reason_of
from .config_entries import refuse_impossible
from .families import Family, resolve_family
from .plain_weights import PLAIN_DTYPES
from .projections import HeadGeometry, head_geometry
from .tensor_source import TensorSource

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_WITHOUT_ATTENTION = ("linear_attention", "mamba", "recurrent", "conv", "moe", "mlp")
_NO_GEOMETRY = (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)


def config_of(source: TensorSource, family: str | None = None) -> PretrainedConfig | None:
    """Return the configuration of a checkpoint's language model, or None if it has none.

    Args:
        source: The checkpoint.
        family: What to take its ``model_type`` for if its ``config.json`` does not say.

    Raises:
        UserError: If the configuration cannot be used.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    if isinstance(source.config, PreTrainedConfig):
        return source.config.get_text_config()
    if not isinstance(source.config, dict):
        return None
    refuse_impossible(source.label, source.config)
    name = source.config.get("model_type") or family or ""
    kind: type[PretrainedConfig] = PreTrainedConfig
    try:
        if name in CONFIG_MAPPING:
            # Not .get(): this mapping is lazy, and .get() finds nothing in it.
            kind = CONFIG_MAPPING[name]
        return kind.from_dict(source.config | {"model_type": name}).get_text_config()
    except Exception as error:
        # Each configuration checks its entries in its own way, or computes with them unchecked.
        raise UserError(
            f"the config.json of {source.label!r} cannot be used ({reason_of(error)}): correct it"
        ) from error


def model_type_in(source: TensorSource) -> str | None:
    """Return the ``model_type`` of a checkpoint as a whole, which may be a wrapper around its language model."""
    if isinstance(source.config, dict):
        return source.config.get("model_type")
    return getattr(source.config, "model_type", None)


def family_of(label: str, config: PretrainedConfig | None, name: str | None) -> Family:
    """Return the row of the table of families that describes a checkpoint.

    Args:
        label: What messages call the checkpoint.
        config: Its configuration.
        name: The row to take in place of the one its configuration names.

    Raises:
        UserError: If there is no such row, or nothing that names one.
    """
    from transformers import PreTrainedConfig

    if name is not None:
        config = PreTrainedConfig.from_dict({"model_type": name})
    if config is None:
        raise UserError(
            f"{label!r} comes without a config.json, so its family is unknown: name its tensors with a pattern "
            "such as q=layers.{layer}.attn.q.weight, or give family"
        )
    try:
        return resolve_family(config)
    except UserError as error:
        raise UserError(f"{label!r}: {error}, or name its tensors with a pattern") from error


def attending_layers(config: PretrainedConfig | None, stored: Collection[int]) -> list[int]:
    """Return which layers of a model with layers of other kinds have attention, ascending.

    A layer with attention by its configuration counts whether its weights are stored or not, for they may be lost.

    Args:
        config: The configuration.
        stored: The layers that have weights under the names of attention's, as linear attention may have too.
    """
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    found = set(stored)
    for layer, kind in enumerate(kinds):
        if kind in _WITHOUT_ATTENTION:
            found.discard(layer)
        elif str(kind).endswith("attention"):
            found.add(layer)
    return sorted(found)


def family_geometry(
    label: str, config: PretrainedConfig | None, family: Family, layer: int = 0
) -> HeadGeometry | None:
    """Return the head counts of a layer that a family's row reads from a configuration, None without one.

    Raises:
        UserError: If the configuration does not give them.
    """
    try:
        return None if config is None else family.geometry(config, layer)
    except _NO_GEOMETRY as error:
        raise UserError(
            f"the config.json of {label!r} does not give head counts as family {family.name!r} has them "
            f"({error}): name its family, or its tensors with a pattern"
        ) from error


def likely_geometry(config: PretrainedConfig | None) -> HeadGeometry | None:
    """Return head counts as most configurations spell them, or None if this one does not."""
    try:
        return None if config is None else head_geometry(config)
    except _NO_GEOMETRY:
        return None


def refuse_quantised(source: TensorSource, config: PretrainedConfig | None, names: Iterable[str]) -> None:
    """Refuse weights that are codes of other numbers.

    A configuration may exempt attention from quantisation (GPT-OSS does): such weights can be read.

    Args:
        source: The checkpoint.
        config: Its configuration.
        names: The tensors that will be read.

    Raises:
        UserError: If a tensor is no plain float, or the configuration speaks of quantisation.
    """
    for name in (names := list(names)):
        dtype = source.stored(name).dtype
        if dtype not in PLAIN_DTYPES:
            raise _quantised(source.label, f"{name} is {dtype}")
    settings = _quantisation(source.config) or _quantisation(config)
    if not settings:
        return
    exempt = [f"{module}.*" for module in settings.get("modules_to_not_convert") or ()]
    if not all(any(fnmatchcase(name, module) for module in exempt) for name in names):
        raise _quantised(source.label, f"its configuration says {settings.get('quant_method', 'so')}")


def _quantisation(config: Any) -> dict[str, Any] | None:
    settings = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    settings = settings.get("quantization_config")
    return settings if settings is None or isinstance(settings, dict) else settings.to_dict()


def _quantised(label: str, reason: str) -> UserError:
    return UserError(f"{label!r} holds quantised weights ({reason}): give the unquantised checkpoint")
