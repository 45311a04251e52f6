"""The effects behind Bar Natan et al.'s claims about gradient norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .barnatan import FT, LCFT
from .effects import Effect, over_units
from .study_rows import gradient_norms

Studies = Mapping[str, Any]
_UNIT = "demonstrations"


def lower_gradients_of_layer_causal(studies: Studies) -> Effect:
    """Log of the mean gradient norm of the lower half, layer-causal over standard, over demonstrations."""
    (study,) = studies.values()
    values = _lower(gradient_norms(study, LCFT)).log() - _lower(gradient_norms(study, FT)).log()
    return over_units(values.tolist(), _UNIT)


def lower_over_upper_gradients(studies: Studies) -> Effect:
    """Log of the mean gradient norm of the lower over the upper half in standard finetuning, over demonstrations."""
    (study,) = studies.values()
    norms = gradient_norms(study, FT)
    values = _lower(norms).log() - norms[:, norms.shape[1] // 2 :].mean(1).log()
    return over_units(values.tolist(), _UNIT)


def _lower(norms: Tensor) -> Tensor:
    return norms[:, : norms.shape[1] // 2].mean(1)
