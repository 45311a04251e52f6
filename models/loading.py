"""Loading a causal language model of any origin, together with its tokenizer and its family."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import UserError
from .adapter import merge_adapter, merged_copy
from .adapter_folder import CONFIG as ADAPTER_CONFIG
from .adapter_folder import is_adapter
from .checkpoint_config import family_geometry
from .config_entries import refuse_impossible
from .devices import choose_device, choose_dtype, running_device
from .families import Family, listed_family
from .gguf_file import is_gguf, read_gguf
from .gguf_model import gguf_options
from .layer_parts import LayerParts, decoder_layers, layer_parts
from .live_adapter import active_adapters
from .live_module import running_module
from .loading_errors import told_in_one_sentence
from .meta_model import refuse_underivable
from .model_place import place_of
from .projections import HeadGeometry
from .remote_code import refusing_code
from .rotation import stretched_context
from .tokenizer_files import load_tokenizer, require_vocabulary
from .whole_checkpoint import load_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model as transformers runs it, never a reimplementation; `load_model` makes one.

    Attributes:
        module: The Hugging Face module.
        family: Its row in the table of families.
        tokenizer: Its tokenizer; without one, prompts must be token ids.
        name: What it was loaded from.
        revision: The revision asked for, if any.
        adapter: The PEFT adapter merged into it, or the names of those that live in it unmerged, if any.
        dequantised: How many tensors of which types the GGUF file holds that its weights were dequantised from.
    """

    module: PreTrainedModel
    family: Family
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str | None = None
    adapter: str | None = None
    dequantised: str | None = None

    @cached_property
    def layers(self) -> tuple[torch.nn.Module, ...]:
        """Every decoder layer, those without attention included."""
        return decoder_layers(self.module, self.family)

    @cached_property
    def parts(self) -> tuple[LayerParts, ...]:
        """The modules of each decoder layer that has attention."""
        return layer_parts(self.module, self.family)

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the input embeddings, or where they run if they are offloaded."""
        return running_device(self.module.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the model computes in."""
        return self.module.dtype

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, L."""
        return len(self.layers)

    @property
    def geometry(self) -> HeadGeometry:
        """Head counts and width, of the first layer with attention where layers differ."""
        return self.geometry_of(self.parts[0].index)

    def geometry_of(self, layer: int) -> HeadGeometry:
        """Return head counts and widths of a decoder layer, counted from 0."""
        return self.family.geometry(self.module.config.get_text_config(), layer)

    @property
    def width(self) -> int:
        """Width of the residual stream, d."""
        return self.module.config.get_text_config().hidden_size

    @property
    def context_length(self) -> int | None:
        """How many tokens fit, or None where the architecture sets no limit."""
        return context_length_of(self.module.config)

    @property
    def attention_implementation(self) -> str:
        """The name under which transformers runs this model's attention."""
        return self.module.config.get_text_config()._attn_implementation or "eager"

    @cached_property
    def arguments(self) -> frozenset[str]:
        """The names of the arguments that the module's forward takes."""
        return frozenset(inspect.signature(type(self.module).forward).parameters)

    def require_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer.

        Raises:
            UserError: If there is none where the model lies, or it was given without one.
        """
        if self.tokenizer is None:
            raise UserError(
                f"model {self.name!r} holds no tokenizer: give tokenizer=… (--tokenizer DIR), or token ids"
            )
        return self.tokenizer

    def __repr__(self) -> str:
        """Return one line that tells what was loaded and how it runs."""
        return (
            f"LanguageModel({self.name!r}, family={self.family.label!r}, layers={self.n_layers}, "
            f"width={self.width}, dtype={self.dtype}, device={self.device}, "
            f"attention={self.attention_implementation!r})"
        )


def load_model(
    name_or_path_or_module: str | Path | PreTrainedModel | LanguageModel,
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    device_map: str | dict[str, Any] | None = None,
    adapter: str | Path | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model and resolve its family.

    A model type that the table of families does not list is laid out as its modules' names and shapes say, if the
    self-check then holds on this very model; a warning says so, and so does the family (``derived``).

    Args:
        name_or_path_or_module: A hub id, a local directory, a GGUF file, whose weights are dequantised (needs
            the extra ``gguf``), ``pocket`` (or another embedded model), or a module already in memory, which is used
            as it is: compiled, wrapped for several devices, or with PEFT adapters in it, which then act unmerged.
            What is compiled runs as it was written wherever something is recorded.
        tokenizer: A tokenizer, or where to load it from; by default the model's place. Without one only token ids go.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        dtype: ``auto`` is the checkpoint's own on a GPU and float32 on a CPU.
        device: ``auto`` is the GPU where there is one.
        device_map: Passed on to transformers to spread a model over devices (needs ``accelerate``).
        adapter: A PEFT adapter, merged into the weights, of a copy if the model was in memory (needs ``peft``).
        attention: An attention implementation in place of the model's own choice.
        trust_remote_code: Whether to run code that comes with the checkpoint or its tokenizer.

    Raises:
        UserError: If there is no such model, its family has no row and none can be derived, or a needed package is
            missing.
    """
    if isinstance(name_or_path_or_module, LanguageModel):
        return _changed(name_or_path_or_module, tokenizer, adapter, trust_remote_code)
    if isinstance(name_or_path_or_module, torch.nn.Module):
        return _wrap_module(name_or_path_or_module, tokenizer, adapter, trust_remote_code)
    name = str(name_or_path_or_module)
    place, place_revision = place_of(name, revision)
    chosen_device = choose_device(device)
    if adapter is None:
        _refuse_adapter_as_model(name, place, place_revision)
    config = load_config(place, place_revision, trust_remote_code)
    if (listed := listed_family(config)) is None:
        refuse_underivable(config, trust_remote_code)
    else:
        family_geometry(name, config.get_text_config(), listed)
    module = _load_module(
        place,
        config,
        revision=place_revision,
        dtype=choose_dtype(dtype, chosen_device),
        device_map=device_map,
        trust_remote_code=trust_remote_code,
        # Or transformers puts an adapter that lies beside the model into it.
        adapter_kwargs={"subfolder": "none"},
        **({"attn_implementation": attention} if attention else {}),
    )
    if device_map is None:
        with told_in_one_sentence("model", place, place_revision):
            module = module.to(chosen_device)
    if adapter is not None:
        module = merge_adapter(module, adapter)
    if tokenizer is None:
        tokenizer = load_tokenizer(place, revision=place_revision, trust_remote_code=trust_remote_code)
    return LanguageModel(
        module.eval(),
        _family_of(module, name),
        _given_tokenizer(tokenizer, trust_remote_code),
        name,
        revision,
        str(adapter) if adapter else None,
        read_gguf(Path(place)).dequantised if is_gguf(place) else None,
    )


def _changed(
    model: LanguageModel, tokenizer: Any, adapter: str | Path | None, trust_remote_code: bool
) -> LanguageModel:
    """Return a loaded model with the tokenizer or the adapter that is asked for now."""
    if tokenizer is not None:
        model = replace(model, tokenizer=_given_tokenizer(tokenizer, trust_remote_code))
    if adapter is not None:
        model = replace(model, module=merged_copy(model.module, adapter), adapter=str(adapter))
    return model


def _wrap_module(
    module: Any, tokenizer: Any, adapter: str | Path | None, trust_remote_code: bool
) -> LanguageModel:
    module = running_module(module)
    if not hasattr(module, "config"):
        raise UserError(f"{type(module).__name__} is no transformers model: it has no config")
    if adapter is not None:
        module = merged_copy(module, adapter)
    name = module.config.name_or_path or type(module).__name__
    adapters = str(adapter) if adapter else ", ".join(active_adapters(module)) or None
    return LanguageModel(
        module,
        _family_of(module, name),
        _given_tokenizer(tokenizer, trust_remote_code),
        name,
        adapter=adapters,
    )


def _family_of(module: Any, name: str) -> Family:
    """Return the row of a module's type, or else one that was derived from it and held by its self-check.

    Raises:
        UserError: If there is no row, and none that holds.
    """
    listed = listed_family(module.config)
    if listed is not None:
        return listed
    # The one import that points to the right: whether a derived row is true, only running the model tells.
    from ..hooks.derivation import derived_family

    return derived_family(module, name)


def _given_tokenizer(tokenizer: Any, trust_remote_code: bool) -> Any:
    """Return a tokenizer that was given, loaded if what was given is its place."""
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    place, _ = place_of(str(tokenizer), None)
    return require_vocabulary(place, load_tokenizer(place, trust_remote_code=trust_remote_code))


def _refuse_adapter_as_model(name: str, place: str, revision: str | None) -> None:
    if is_adapter(place, revision):
        raise UserError(
            f"{name!r} holds a PEFT adapter ({ADAPTER_CONFIG}) and was given as a model: give it as adapter=… "
            f"(--adapter) with the model it was made from, or move {ADAPTER_CONFIG} away"
        )


def context_length_of(config: Any) -> int | None:
    """Return how many tokens fit into a model of a configuration, or None where the architecture sets no limit."""
    config = config.get_text_config()
    lengths = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((stretched_context(config, int(length)) for length in lengths if length is not None), None)


@dataclass(frozen=True)
class PromptingModel:
    """What it takes to build a model's prompts: everything but its weights.

    Attributes:
        name: What it was loaded from.
        tokenizer: Its tokenizer.
        context_length: How many tokens fit, or None where the architecture sets no limit.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    context_length: int | None

    def require_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer."""
        return self.tokenizer


def load_prompting_model(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | Path | None = None,
    trust_remote_code: bool = False,
) -> PromptingModel:
    """Load the configuration and the tokenizer of a model, and no weights.

    Args:
        name: A hub id, a local directory, or an embedded model.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        tokenizer: Where the tokenizer is, in place of the model's own.
        trust_remote_code: Whether to run code that comes with the model or its tokenizer.

    Raises:
        UserError: If there is no such model or it has no tokenizer.
    """
    place, place_revision = place_of(name, revision)
    config = load_config(place, place_revision, trust_remote_code)
    if tokenizer is None:
        loaded = load_tokenizer(place, revision=place_revision, trust_remote_code=trust_remote_code)
        found = require_vocabulary(place, loaded)
    else:
        found = _given_tokenizer(tokenizer, trust_remote_code)
    return PromptingModel(name, found, context_length_of(config))


def load_config(place: str, revision: str | None, trust_remote_code: bool) -> Any:
    """Load the configuration of a model where `place_of` says that it lies.

    Raises:
        UserError: If there is none, or it cannot be used.
    """
    from transformers import AutoConfig, PretrainedConfig

    if is_gguf(place):
        with told_in_one_sentence("model", place), gguf_options(read_gguf(Path(place))) as (empty, given):
            return AutoConfig.from_pretrained(empty, **given)
    with told_in_one_sentence("model", place, revision), refusing_code("model", place):
        refuse_impossible(place, PretrainedConfig.get_config_dict(place, revision=revision)[0])
        return AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=trust_remote_code)


def _load_module(place: str, config: Any, **options: Any) -> Any:
    with told_in_one_sentence("model", place, options.get("revision")), refusing_code("model", place):
        return load_whole(place, config, **options)
