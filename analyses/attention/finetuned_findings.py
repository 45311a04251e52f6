"""What is found of how finetuning moves the heads that look at labels: alarms first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...study.finding import Finding
from ..comparison.alarms import alarms_of
from .changes import Ends, Moved
from .config import AttentionConfig
from .finetuned import FinetunedDraw

MOVED, SAME, TOGETHER = (
    "attention moved by finetuning",
    "SimAM of the changes of heads that look at labels",
    "heads moved by finetuning and share on labels",
)
ROUNDING = "no attention moved by finetuning"


def finetuned_findings(
    config: AttentionConfig, moved: Moved, draws: Sequence[FinetunedDraw], queries: int
) -> Iterator[Finding]:
    """Yield the alarms, and where finetuning changed more than rounding what it moved.

    Args:
        config: What is asked.
        moved: How far the heads that look at labels are moved.
        draws: The draws.
        queries: How many queries every draw asked.
    """
    for name, seed, sentence in alarms_of({draw.cell.seed: draw.outcome for draw in draws}):
        yield Finding(name, sentence, "alarm", where={"seed": seed})
    unmoved = [draw for draw in draws if bool(draw.ft_is_rounding.all())]
    for draw in unmoved:
        where = f" in the draw of seed {draw.cell.seed}" if len(draws) > 1 else ""
        yield Finding(
            ROUNDING,
            f"finetuning changed the attention of no head by more than rounding{where}: with "
            f"{draw.outcome.source} and learning rate {draw.outcome.learning_rate:g} nothing can be said of which "
            "heads it moves, so take a larger learning rate",
            "alarm",
            where={"seed": draw.cell.seed},
        )
    if len(unmoved) < len(draws):
        yield from _results(config, moved, queries)


def _results(config: AttentionConfig, moved: Moved, queries: int) -> Iterator[Finding]:
    draws = f" in each of {len(config.seeds)} draws of demonstrations" if len(config.seeds) > 1 else ""
    basis = f"{config.level:.0%} bootstrap over {queries} queries{draws}"
    if moved.heads:
        several = moved.heads > 1
        heads = f"the {moved.heads} heads that look at labels" if several else "the head that looks at labels"
        beside = (
            f", and {_told(moved.ft_others)} in the {moved.others} other head{'s' * (moved.others > 1)} of the same "
            f"layers: a difference of {_told(moved.ft_more, sign=True)}. ICL moves {moved.icl[0]:.2g} and "
            f"{moved.icl_others[0]:.2g}."
            if moved.others
            else f". ICL moves {moved.icl[0]:.2g}."
        )
        yield Finding(
            MOVED,
            f"Finetuning moves {_told(moved.ft)} of the last token's attention over the query in {heads}{beside}",
            value=moved.ft[0],
            low=moved.ft[1],
            high=moved.ft[2],
            null=moved.ft_others[0],
            unit="total variation",
            basis=basis,
        )
        if moved.same[0] == moved.same[0]:
            yield Finding(
                SAME,
                f"In {'these heads' if several else 'this head'} the changes by ICL and by finetuning have a SimAM "
                f"of {_told(moved.same, sign=True)}; with the ICL rows of other queries {moved.same_null[0]:+.2f}.",
                value=moved.same[0],
                low=moved.same[1],
                high=moved.same[2],
                null=moved.same_null[0],
                unit="cosine",
                basis=basis,
            )
    if moved.by_labels[0] == moved.by_labels[0]:
        yield Finding(
            TOGETHER,
            f"Over all heads, the share on labels and the change by finetuning have a Spearman correlation of "
            f"{_told(moved.by_labels, sign=True)}, the changes by ICL and by finetuning one of "
            f"{_told(moved.by_icl, sign=True)}.",
            value=moved.by_labels[0],
            low=moved.by_labels[1],
            high=moved.by_labels[2],
            null=0.0,
            unit="Spearman's rho",
            basis=basis,
        )


def _told(ends: Ends, *, sign: bool = False) -> str:
    value, low, high = (f"{end:+.2f}" if sign else f"{end:.2g}" for end in ends)
    return f"{value} [{low}, {high}]"
