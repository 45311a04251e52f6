"""A model of a configuration whose weights take no memory: its modules can be seen before any weight is loaded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from .derived_family import Underivable, candidate_families
from .families import model_type_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def meta_model(config: PretrainedConfig, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a model of a configuration whose weights take no memory."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)


def meta_copy(module: PreTrainedModel) -> PreTrainedModel:
    """Build a model of the same class and configuration whose weights take no memory."""
    with torch.device("meta"):
        return type(module)(copy.deepcopy(module.config))


def refuse_underivable(config: PretrainedConfig, trust_remote_code: bool = False) -> None:
    """Refuse a model type without a row of which none can be derived, before any weight is loaded.

    Raises:
        Underivable: If no row can be derived.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    # A checkpoint's own code may bring a model of any type.
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not hasattr(config, "auto_map"):
        raise Underivable(model_type_of(config), "transformers has no causal language model of this type")
    try:
        model = meta_model(config, trust_remote_code)
    except Exception:  # loading the model meets the same, and tells it
        return
    candidate_families(model)
