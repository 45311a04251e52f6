"""What a look at attention will take, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from ...hooks.batching import bytes_per_prompt, choose_batch_size, held_memory
from ...hooks.prefix import copied_tokens
from ...models.loading import LanguageModel
from ..cell import Cell
from ..comparison.estimate import estimate_comparisons, queries_seconds
from ..comparison.pace import measure_pace
from .config import AttentionConfig
from .maps import map_bytes
from .prompt_parts import PARTS

# Keeping whole rows makes a forward longer by so much.
_RECORDING = 1.4


def estimate_attention(config: AttentionConfig, model: LanguageModel, cells: Sequence[Cell]) -> str:
    """Say what the process takes: what it holds, one batch with its rows, the shares of all, the maps, and how long.

    Args:
        config: What is asked.
        model: The model.
        cells: The draws.
    """
    prompts = [cell.prompts.icl for cell in cells]
    longest = max(each.longest for each in prompts)
    queries = max(len(ids) for each in prompts for ids in each.query_ids)
    past = max(len(each.prefix_ids) for each in prompts)
    copied = copied_tokens(model, past)
    size = config.batch_size if config.batch_size != "auto" else choose_batch_size(model, queries, copied)
    size = min(size, max(each.n for each in prompts))
    rows = len(model.parts) * model.geometry.heads
    # Patterns in fp32 as they are recorded and put together, in float64, and where hidden tokens are taken out.
    batch = size * (bytes_per_prompt(model, queries, copied) + rows * longest * (4 + 4 + 8 + 8))
    controls = 1 + config.permuted_labels
    shares = sum(each.n for each in prompts) * controls * rows * len(PARTS) * 8
    # The model is loaded, and with it its tokenizer, the records and the libraries.
    held = max(held_memory(), sum(parameter.nbytes for parameter in model.module.parameters()))
    maps = map_bytes(config, model, longest)
    # The demonstrations run once before the queries; the allocator keeps what was given back in other sizes.
    prefix = bytes_per_prompt(model, past, 0)
    total = held + shares + prefix + batch + maps
    pace = measure_pace(model)
    seconds = sum(
        controls
        * (
            pace.seconds(1, len(each.prefix_ids), 1)
            + _RECORDING * queries_seconds(pace, [len(ids) for ids in each.query_ids], size)
        )
        for each in prompts
    )
    parts = [
        f"{held / 1e9:.2f} held with the model",
        f"{(prefix + batch) / 1e9:.2f} a batch of {size}",
        f"{shares / 1e9:.2f} shares",
        f"{maps / 1e9:.2f} maps",
    ]
    search = 0.0
    if "ft" in config.settings:
        compared = config.finetuning()
        found = estimate_comparisons(model, [(cells[0], [compared])])
        taken = found.total_bytes - found.model_bytes
        total = max(total, held + shares + taken)
        parts.append(f"{taken / 1e9:.2f} finetuning and its queries")
        seconds += len(cells) * (found.seconds + found.search_seconds)
        search = len(cells) * found.search_seconds
    chosen = f", {max(1, round(search))} s of them to choose a learning rate" if search else ""
    return f"estimate: {total / 1e9:.2f} GB ({', '.join(parts)}), about {max(1, round(seconds))} s{chosen}"
