"""Entries of a ``config.json`` that no model can have: refused before a library builds with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import UserError, shown

MOST_LAYERS = 100_000
_LAYERS = re.compile(r"(n|num|encoder|decoder|num_hidden|num_decoder|num_encoder)_layers?")


def refuse_impossible(label: str, settings: Mapping[str, Any]) -> None:
    """Refuse a configuration with more layers than memory, numbers that are none, or a part that is no configuration.

    Libraries list the kind of every layer, so that the number of layers alone can take all memory and time.

    Args:
        label: What messages call the checkpoint.
        settings: What its ``config.json`` says.

    Raises:
        UserError: It names the entry.
    """
    for name, value in _entries(settings):
        key = name.rpartition(".")[2]
        wrong = None
        if (
            _LAYERS.fullmatch(key)
            and isinstance(value, int | float)
            and not -MOST_LAYERS < value < MOST_LAYERS
        ):
            wrong = f"and at most {MOST_LAYERS:,} layers are loaded"
        elif isinstance(value, float) and not math.isfinite(value):
            wrong = "which is no finite number"
        elif key in ("max_position_embeddings", "n_positions") and isinstance(value, int) and value < 0:
            wrong = "and no text has fewer than no tokens"
        elif key in ("text_config", "decoder_config") and not isinstance(value, Mapping | None):
            wrong = "which is no configuration"
        elif key == "transformers_weights" and not (value is None or _is_name(value)):
            wrong = "which is no file beside it"
        elif key in ("short_factor", "long_factor") and isinstance(value, list) and len(value) == 1:
            wrong = "which would spread one factor over all frequencies"
        if wrong is not None:
            raise UserError(
                f"config.json of {label!r} says {shown(value)} for {name}, {wrong}: correct it, or fetch it again"
            )


def refuse_foreign_width(label: str, config: Any, shapes: Iterable[tuple[int, ...]]) -> None:
    """Refuse a configuration whose width no tensor of the checkpoint has.

    A library would build the model of that width and draw its weights before it noticed.

    Args:
        label: What messages call the checkpoint.
        config: Its configuration.
        shapes: Those of its tensors.

    Raises:
        UserError: If no tensor has the width that its configuration says.
    """
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        return
    sizes = {size for shape in shapes for size in shape}
    if width not in sizes:
        raise UserError(
            f"the weights of {label!r} are not those of its config.json: none has its width (hidden_size "
            f"{shown(width)}); correct config.json, or fetch the checkpoint again"
        )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ".." and not {"/", "\\", ":"} & set(value)


def _entries(settings: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = f"{path}.{key}" if path else str(key)
        yield name, value
        if isinstance(value, Mapping) and depth < 2:
            yield from _entries(value, name, depth + 1)
