"""What becomes of each causal model type of the installed transformers: it has a row, one is derived, or why not."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..errors import UserError, shown
from ..models.derived_family import Underivable, candidate_families
from ..models.families import Family, listed_family
from ..models.layer_parts import layer_parts
from ..models.meta_model import meta_model
from .functional import AttentionListeners, listen_to_softmax
from .registry import listen_to_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Outcome = Literal["row", "derived", "refused"]


@dataclass(frozen=True)
class FamilyOutcome:
    """What becomes of one model type.

    Attributes:
        model_type: The type.
        outcome: ``row`` where the table of families lists it, ``derived`` where a row can be read off its modules
            (which is used if the self-check then holds on the model itself), else ``refused``.
        why: What the row is called where it is that of the type's text model; what was derived; why it is refused.
    """

    model_type: str
    outcome: Outcome
    why: str = ""


def family_outcomes() -> tuple[FamilyOutcome, ...]:
    """Return what becomes of every causal model type of the installed transformers, sorted by name.

    Types without a row are built from their default configuration on the meta device, where weights take no memory.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with _quiet():
        return tuple(_outcome(name) for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def _outcome(model_type: str) -> FamilyOutcome:
    from transformers import AutoConfig

    try:
        config = AutoConfig.for_model(model_type)
        listed = listed_family(config)
        if listed is not None:
            return FamilyOutcome(model_type, "row", listed.name if listed.name != model_type else "")
        model = meta_model(config)
    except UserError as error:
        return FamilyOutcome(model_type, "refused", str(error))
    except Exception as error:  # a default configuration of which no model can be built raises anything
        reason = shown(" ".join(str(error).split()))
        why = f"its default configuration gives no model ({type(error).__name__}: {reason})"
        return FamilyOutcome(model_type, "refused", why)
    try:
        family = candidate_families(model)[0]
        _refuse_several_calls(model, family)
    except Underivable as error:
        return FamilyOutcome(model_type, "refused", error.found)
    return FamilyOutcome(model_type, "derived", _told(family))


def _told(family: Family) -> str:
    return f"{family.attention} of {family.layers[0]}, {', '.join(family.projections)}: {family.layout}"


def _refuse_several_calls(model: PreTrainedModel, family: Family) -> None:
    """Refuse a model whose first layer calls attention several times in a forward, as far as it runs without weights.

    Raises:
        Underivable: If the layer does.
    """
    calls = 0
    first = layer_parts(model, family)[0]

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def stop(*_: Any) -> None:
        raise StopIteration

    if family.route == "registry":
        listening = listen_to_attention("eager", {first.attention: count})
    else:
        listening = listen_to_softmax({first.attention: AttentionListeners(count, count)})
    tokens = torch.ones(1, 4, dtype=torch.long, device="meta")
    first.layer.register_forward_hook(stop)
    try:
        # The mask of eager attention is made without a look at numbers.
        model.set_attn_implementation("eager")
        with listening, torch.no_grad():
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    except Exception:  # here it stops, or where something depends on numbers, which there are none of
        pass
    if calls > 1:
        raise Underivable(
            family.name,
            f"layer {first.index} calls attention {calls} times in a forward, and a capture holds one",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what transformers says about default configurations to itself."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
