"""A derived row is used only where the self-check holds on the very model that it was derived from."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from ..errors import UserError
from ..models.derived_family import Underivable, candidate_families
from ..models.families import Family, model_type_of
from ..models.loading import LanguageModel
from .self_check import ROWS_CHECK, self_check

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_held: WeakKeyDictionary[torch.nn.Module, Family] = WeakKeyDictionary()


def derived_family(module: PreTrainedModel, name: str) -> Family:
    """Return a row for a model whose type has none, read off its modules and held by its self-check.

    Each candidate is tried until one holds. What was found for a module is remembered as long as it lives.

    Args:
        module: The model.
        name: What it is called in messages.

    Raises:
        Underivable: If no candidate holds; the sentence names the property that failed.
    """
    known = _held.get(module)
    if known is not None:
        return known
    failure = ""
    for family in candidate_families(module):
        failed = _failure(LanguageModel(module, family, None, name))
        if not failed:
            _held[module] = family
            warnings.warn(
                f"model type {family.name!r} has no row in the table of families: where its attention lies was "
                f"derived from the modules of {name!r}, and its self-check holds",
                UserWarning,
                stacklevel=4,
            )
            return family
        failure = failure or failed
    raise Underivable(model_type_of(module.config), failure)


def _failure(model: LanguageModel) -> str:
    """Return which property does not hold with this row, nothing if all do."""
    try:
        result = self_check(model)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a model may raise anything where it is not run as it wants to be
        return f"its self-check ends in {type(error).__name__}"
    for check in result.checks:
        if not check.held:
            return (
                f"of what its modules say this fails: {check.name}{f' ({check.note})' if check.note else ''}"
            )
        if check.name == ROWS_CHECK and check.note:
            return f"whose rows are whose cannot be checked in {check.note}"
    return ""
