"""Models that the user has wrapped in nnsight already."""

from __future__ import annotations

import sys
from typing import Any

from ...errors import UserError
from ...models.loading import LanguageModel, load_model


def is_nnsight_model(model: Any) -> bool:
    """Return whether something is nnsight's wrapper of a module."""
    # Without nnsight in memory there is none.
    nnsight = sys.modules.get("nnsight")
    return nnsight is not None and isinstance(model, nnsight.Envoy)


def model_inside(model: Any) -> LanguageModel:
    """Return the model inside nnsight's wrapper, whose weights are loaded now where they were not.

    Raises:
        UserError: If edits are stored on the wrapper, which act only in its own traces.
    """
    if any(envoy._edits for envoy in model.modules()):
        raise UserError(
            "this nnsight model carries edits, which act in its own traces alone and would be left out: call its "
            "clear_edits(), or change the module itself"
        )
    if not getattr(model, "dispatched", True):
        model.dispatch()
    return load_model(model._module, tokenizer=getattr(model, "tokenizer", None))
