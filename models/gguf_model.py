"""A model out of a GGUF file, its weights dequantised: transformers' reading of it, held to be whole.

transformers passes over tensors and settings of a GGUF file that it has no place for: frequency factors of Llama 3, a
stretched rotation, a softcap. The model would then be another than the file's, so all of them are looked for here.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import UserError, shown
from .gguf_file import GGUFFile
from .tensor_source import told

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_CLOSE = 1e-5


@contextmanager
def gguf_options(file: GGUFFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give what ``from_pretrained`` is told in place of a directory, and its options, for a GGUF file.

    The directory is an empty one: what lies beside the file, such as another model's tokenizer, is none of its.

    Raises:
        UserError: If transformers does not know the file's architecture.
    """
    with tempfile.TemporaryDirectory() as empty:
        try:
            yield empty, {"gguf_file": str(file.path.absolute())}
        except (ValueError, NotImplementedError) as error:
            if isinstance(error, UserError) or file.architecture not in str(error):
                raise
            raise UserError(
                f"{shown(file.path)} is of architecture {file.architecture[:40]!r}, which transformers does not read "
                "out of a GGUF: give the model's safetensors"
            ) from error


def load_gguf(file: GGUFFile, model_class: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Load a model with dequantised weights, and transformers' report of what did not fit.

    Args:
        file: The file.
        model_class: What loads it.
        options: What its ``from_pretrained`` takes besides.

    Raises:
        UserError: If transformers does not know the file's architecture.
    """
    from transformers import GgufConfig

    options.pop("revision", None)
    with gguf_options(file) as (empty, given):
        loaded: Any = model_class.from_pretrained(
            empty, quantization_config=GgufConfig(dequantize=True), **given, **options
        )
    module, report = loaded
    module.config.name_or_path = str(file.path)
    return module, report


def gguf_tokenizer(file: GGUFFile) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer of a GGUF file, None if it holds none."""
    from transformers import AutoTokenizer

    if not isinstance(file.settings.get("tokenizer.ggml.model"), str):
        return None
    with gguf_options(file) as (empty, given):
        return AutoTokenizer.from_pretrained(empty, **given)


def refuse_other_model(file: GGUFFile, module: Any) -> None:
    """Refuse a file with tensors or settings that the model made of it does not have.

    Args:
        file: The file.
        module: The model, no place of which was left empty.

    Raises:
        UserError: It names one of them.
    """
    _refuse_other_settings(file, module.config)
    _refuse_left_over(file, module)


def _refuse_other_settings(file: GGUFFile, config: PretrainedConfig) -> None:
    """Refuse a setting that decides what the model computes and that its configuration does not have."""
    config = config.get_text_config()
    rotation: Any = getattr(config, "rope_parameters", None) or {}
    rotation = rotation.get("full_attention", rotation)
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else None)
    rotated = None if width is None else int(width * rotation.get("partial_rotary_factor", 1.0))
    kept = {
        "rope.freq_base": rotation.get("rope_theta"),
        "rope.dimension_count": rotated,
        "rope.scaling.type": {"default": "none"}.get(
            rotation.get("rope_type", "default"), rotation.get("rope_type")
        ),
        "rope.scaling.factor": rotation.get("factor", 1.0),
        "rope.scale_linear": 1.0,
        "attention.sliding_window": getattr(config, "sliding_window", None),
        "attention.clamp_kqv": getattr(config, "clip_qkv", None),
        "attn_logit_softcapping": getattr(config, "attn_logit_softcapping", None),
        "final_logit_softcapping": getattr(config, "final_logit_softcapping", None),
        "logit_scale": getattr(config, "logit_scale", None),
    }
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"):
        if hasattr(config, name):
            for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
                kept[key] = getattr(config, name)
    for key, ours in kept.items():
        asked = file.setting(key)
        if asked is None or _same(asked, ours):
            continue
        raise UserError(
            f"{shown(file.path)} says {shown(asked)} for {file.architecture[:40]}.{key}, of which transformers makes "
            f"{shown(ours)}, so another model would run: give the model's safetensors"
        )


def _same(asked: Any, ours: Any) -> bool:
    if isinstance(asked, float | int) and isinstance(ours, float | int):
        return math.isclose(asked, ours, rel_tol=_CLOSE)
    return asked == ours


def _refuse_left_over(file: GGUFFile, module: Any) -> None:
    """Refuse a file whose tensors do not all stand in the model.

    transformers does not say which it left out. With no place of the model left empty, numbers of entries tell.
    """
    own = {id(tensor): tensor for tensor in module.state_dict(keep_vars=True).values()}
    stored = sum(math.prod(tensor.shape) for tensor in file.tensors.values())
    held = sum(tensor.numel() for tensor in own.values())
    if stored == held:
        return
    spare = [name for name in file.tensors if name not in _known_names(file, module)]
    names = ", ".join(told(name) for name in spare[:2]) or "some of its tensors"
    raise UserError(
        f"{shown(file.path)} holds {stored} numbers and the {type(module).__name__} made of it {held}: transformers "
        f"leaves out {names}, so another model would run; give the model's safetensors"
    )


def _known_names(file: GGUFFile, module: Any) -> set[str]:
    """Return which tensors of a file transformers has a place for, as far as it tells."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    processor = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)(config=module.config.to_dict())
    try:
        known = set(get_gguf_hf_weights_map(module, processor))
    except NotImplementedError:
        return set(file.tensors)
    return known | {f"{name}.weight" for name in known}
