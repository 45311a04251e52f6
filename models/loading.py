"""Loading a causal language model of any origin, together with its tokenizer and its family."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import UserError
from .families import Family, LayerParts, layer_parts, resolve_family
from .loading_errors import told_in_one_sentence
from .projections import HeadGeometry
from .rotation import stretched_context
from .whole_checkpoint import load_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model as transformers runs it, never a reimplementation.

    Attributes:
        module: The Hugging Face module.
        family: Its row in the table of families.
        tokenizer: Its tokenizer; without one, prompts must be token ids.
        name: What it was loaded from.
        revision: The revision asked for, if any.
        adapter: The PEFT adapter merged into it, if any.
    """

    module: PreTrainedModel
    family: Family
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str | None = None
    adapter: str | None = None

    @cached_property
    def parts(self) -> tuple[LayerParts, ...]:
        """The modules of each decoder layer."""
        return layer_parts(self.module, self.family)

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the input embeddings."""
        return self.module.get_input_embeddings().weight.device  # type: ignore[union-attr]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the model computes in."""
        return self.module.dtype

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, L."""
        return len(self.parts)

    @property
    def geometry(self) -> HeadGeometry:
        """Head counts and width."""
        return self.family.geometry(self.module.config.get_text_config())

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
            UserError: If the model was given without one.
        """
        if self.tokenizer is None:
            raise UserError(
                f"model {self.name!r} came without a tokenizer: give token ids, or load_model(…, tokenizer=…)"
            )
        return self.tokenizer

    def __repr__(self) -> str:
        """Return one line that tells what was loaded and how it runs."""
        return (
            f"LanguageModel({self.name!r}, family={self.family.name!r}, layers={self.n_layers}, "
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

    Args:
        name_or_path_or_module: A hub id, a local directory, ``pocket`` (or another embedded model), or a module
            already in memory, which is used as it is.
        tokenizer: A tokenizer, or where to load it from; by default from the same place as the model.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        dtype: ``auto`` is the checkpoint's own on a GPU and float32 on a CPU.
        device: ``auto`` is the GPU where there is one.
        device_map: Passed on to transformers to spread a model over devices (needs ``accelerate``).
        adapter: A PEFT adapter, merged into the weights (needs ``peft``).
        attention: An attention implementation in place of the model's own choice.
        trust_remote_code: Whether to run code that comes with the checkpoint.

    Raises:
        UserError: If there is no such model, its family has no row, or a needed package is missing.
    """
    if isinstance(name_or_path_or_module, LanguageModel):
        return name_or_path_or_module
    if isinstance(name_or_path_or_module, torch.nn.Module):
        return _wrap_module(name_or_path_or_module, tokenizer, adapter)
    name = str(name_or_path_or_module)
    place, place_revision = place_of(name, revision)
    chosen_device = choose_device(device)
    family = resolve_family(_load_config(place, place_revision, trust_remote_code))
    module = _load_module(
        place,
        revision=place_revision,
        dtype=_choose_dtype(dtype, chosen_device),
        device_map=device_map,
        trust_remote_code=trust_remote_code,
        **({"attn_implementation": attention} if attention else {}),
    )
    if adapter is not None:
        module = _merge_adapter(module, adapter)
    if device_map is None:
        module = module.to(chosen_device)  # type: ignore[arg-type]
    loaded_tokenizer = _load_tokenizer(tokenizer if tokenizer is not None else place, place_revision)
    return LanguageModel(
        module.eval(), family, loaded_tokenizer, name, revision, str(adapter) if adapter else None
    )


def _wrap_module(module: Any, tokenizer: Any, adapter: str | Path | None) -> LanguageModel:
    if not hasattr(module, "config"):
        raise UserError(f"{type(module).__name__} is no transformers model: it has no config")
    if adapter is not None:
        module = _merge_adapter(module, adapter)
    if isinstance(tokenizer, str | Path):
        tokenizer = _load_tokenizer(tokenizer, None)
    name = module.config.name_or_path or type(module).__name__
    return LanguageModel(module, resolve_family(module.config), tokenizer, name)


def context_length_of(config: Any) -> int | None:
    """Return how many tokens fit into a model of a configuration, or None where the architecture sets no limit."""
    config = config.get_text_config()
    lengths = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((stretched_context(config, int(length)) for length in lengths if length), None)


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


def load_prompting_model(name: str, *, revision: str | None = None) -> PromptingModel:
    """Load the configuration and the tokenizer of a model, and no weights.

    Args:
        name: A hub id, a local directory, or an embedded model.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.

    Raises:
        UserError: If there is no such model or it has no tokenizer.
    """
    place, place_revision = place_of(name, revision)
    config = _load_config(place, place_revision, trust_remote_code=False)
    return PromptingModel(name, _load_tokenizer(place, place_revision), context_length_of(config))


def place_of(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return where an embedded model lies, and any other name and revision as they are.

    Raises:
        UserError: If there is no such embedded model or step.
    """
    from .pocket import POCKET_MODELS, pocket_path

    if name in POCKET_MODELS and not Path(name).exists():
        if revision is not None and not revision.isdigit():
            raise UserError(
                f"revision {revision!r} of {name!r} is no training step: give a number, see its card"
            )
        return str(pocket_path(name, None if revision is None else int(revision))), None
    return name, revision


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; ``auto`` is the GPU where there is one.

    Raises:
        UserError: If there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device {device!r}: use auto, cpu, cuda or cuda:0") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {str(device)!r} was asked for, but torch sees no GPU here: use --device cpu")
    return chosen


def _choose_dtype(dtype: str | torch.dtype, device: torch.device) -> str | torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return "auto" if device.type == "cuda" else torch.float32
    names = {"float32", "float16", "bfloat16", "float64"}
    if dtype not in names:
        raise UserError(f"no dtype {dtype!r}: use auto, {', '.join(sorted(names))}")
    return getattr(torch, dtype)


def _load_config(place: str, revision: str | None, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    with told_in_one_sentence("model", place, revision):
        return AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=trust_remote_code)


def _load_module(place: str, **options: Any) -> Any:
    with told_in_one_sentence("model", place, options.get("revision")):
        return load_whole(place, **options)


def _load_tokenizer(tokenizer: Any, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    if not isinstance(tokenizer, str | Path):
        return tokenizer
    with told_in_one_sentence("tokenizer", str(tokenizer), revision):
        return AutoTokenizer.from_pretrained(str(tokenizer), revision=revision)


def _merge_adapter(module: Any, adapter: str | Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(f"adapter {str(adapter)!r} needs peft: pip install 'iclprobe[peft]'") from error
    try:
        return PeftModel.from_pretrained(module, str(adapter)).merge_and_unload()  # type: ignore[operator]
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(_cannot_load("adapter", str(adapter), None, error)) from error


def _cannot_load(what: str, place: str, revision: str | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    at = f" at revision {revision!r}" if revision else ""
    return f"cannot load {what} {place!r}{at}: {reason} (give a local directory or a hub id)"
