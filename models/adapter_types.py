"""Which of PEFT's adapters change weights, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VECTORS = "which puts trained vectors in front of every prompt and changes no weight"
_MODULES = "which adds modules of its own to the forward and changes no weight"

_NOT_WEIGHTS = {
    "PROMPT_TUNING": f"prompt tuning, {_VECTORS}",
    "MULTITASK_PROMPT_TUNING": f"multitask prompt tuning, {_VECTORS}",
    "P_TUNING": f"p-tuning, {_VECTORS}",
    "CPT": f"context-aware prompt tuning, {_VECTORS}",
    "PREFIX_TUNING": f"prefix tuning, {_VECTORS.replace('vectors', 'keys and values')}",
    "CARTRIDGE": f"a cartridge, {_VECTORS.replace('vectors', 'keys and values')}",
    "ADAPTION_PROMPT": f"LLaMA-Adapter, {_MODULES}",
    "POLY": f"a mixture of skills by task, {_MODULES}",
    "XLORA": f"a mixture of adapters by token, {_MODULES}",
    "SHADOW": f"a model beside the model, {_MODULES}",
}


def why_not_weights(config: Mapping[str, Any]) -> str | None:
    """Return what an adapter does other than changing weights, or None for one that changes weights.

    Args:
        config: What its ``adapter_config.json`` says.
    """
    # An enumeration member of PEFT's is a string too.
    kind = str(getattr(config.get("peft_type"), "value", config.get("peft_type")))
    if kind in _NOT_WEIGHTS:
        return _NOT_WEIGHTS[kind]
    if config.get("alora_invocation_tokens") is not None:
        return "activated LoRA, which acts only behind the tokens that invoke it"
    return None
