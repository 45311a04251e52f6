"""What a comparison will take, asked before it is run."""

from __future__ import annotations

from ..context import Context
from ..needed import Needed
from .cells import cells_of
from .config import CompareConfig
from .kept import plan_keeping
from .run import estimate_draw, prepare_cells

# Tables, pictures and texts of a run, and what they hold of each query, layer and head; each table is there twice.
_BYTES_A_RUN = 400_000
_BYTES_A_NUMBER = 2 * 30
_NUMBERS_A_LAYER = 6


def compare_needs(config: CompareConfig, context: Context) -> Needed:
    """Estimate what a comparison takes, from the model's shapes, the prompts' lengths and a few timed forwards.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If they cannot be loaded, or prompts cannot be built.
    """
    asked = list(cells_of(config).values())
    subject = context.subject(asked[0])
    configs = [subject.named(one) for one in asked]
    cells = prepare_cells(configs, subject)
    estimate = estimate_draw(configs, subject, cells)
    rows = sum(cells[one.shots, seed].prompts.zero_shot.n for one in configs for seed in one.seeds)
    tables = rows * len(subject.model.parts) * _NUMBERS_A_LAYER * _BYTES_A_NUMBER
    kept = plan_keeping(config, subject.model, cells, configs).bytes
    return Needed(
        (estimate.seconds + estimate.search_seconds) * estimate.draws,
        estimate.total_bytes,
        _BYTES_A_RUN + tables + kept,
    )
