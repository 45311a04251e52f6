"""The attention in one text of the user's own."""

from __future__ import annotations

from ...errors import UserError, shown
from ...models.loading import LanguageModel
from ...study.finding import Finding
from ..context import Measured
from .config import AttentionConfig
from .maps import MapName, Mapped, map_arrays, map_prompt, map_token_rows


def measure_text(config: AttentionConfig, model: LanguageModel) -> Measured:
    """Map a text, without demonstrations or a task; tables of queries are empty.

    Args:
        config: What is asked, with a text.
        model: The model.

    Raises:
        UserError: If there is no text, or it does not fit into the context window.
    """
    if config.text is None:
        raise UserError("there is no text to map: give one (--text)")
    layers = (-1,) if config.layers == "auto" else config.layers
    maps: dict[MapName, Mapped] = {"text": map_prompt(config, model, config.text, "text", layers)}
    rows = list(map_token_rows((), maps))
    mapped = maps["text"].rows
    found = Finding(
        "tokens",
        f"{len(rows)} tokens of the text are mapped in layers {', '.join(map(str, mapped.layers))}.",
        value=float(len(rows)),
        unit="tokens",
    )
    facts = {
        "model": f"{config.model}, {len(model.parts)} layers of {model.geometry.heads} heads",
        "text": shown(config.text),
    }
    return Measured(
        config,
        {
            **{
                name: []
                for name in ("ranked", "heads", "layers", "queries", "prompts", "finetuned", "finetuning")
            },
            "map_tokens": rows,
            "facts": [{"name": name, "text": text} for name, text in facts.items()],
        },
        (found,),
        map_arrays(config, maps),
    )
