"""What updates do when they are given to the zero-shot run: the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..study.names import ALL_ATTENTION, FINETUNED_MODEL, MODEL_ITSELF, NO_UPDATE
from ..study.sheet import Block, Cell, Sheet, sheet_of

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study

_COLUMNS = {
    "closed": "closed",
    "closed_particular": "closed, particular",
    "agreement": "agrees with ICL",
    "label_kl": "KL, labels",
    "vocabulary_kl": "KL, vocabulary",
    "format": "closed, format",
}
_KEY = ["place", "layer", "update", "recipe", "alpha"]


def transfer_sheet(study: Study) -> Sheet:
    """Return what every update does at all attention outputs, by alpha, and how much each closes by layer.

    Args:
        study: A study of transfer.
    """
    transfer = study.tables["transfer"]
    several = len(study.config.recipes) > 1
    blocks = [
        *_outcomes(transfer, several),
        *_by_alpha(transfer, several),
        *_by_layer(transfer, several),
        *_lengths(study.tables["lengths"], several),
    ]
    return sheet_of(study, tuple(blocks), _notes(study))


def _notes(study: Study) -> tuple[str, ...]:
    draws = len(study.config.seeds)
    intervals = f"intervals of {100 * study.config.level:g}% resample queries"
    over = f"one draw of demonstrations; {intervals}"
    if draws > 1:
        over = f"mean over {draws} draws of demonstrations ± one standard deviation; {intervals}, all draws together"
    return (
        over,
        "closed: the share of the way from zero-shot to ICL in centred label log-probabilities; particular: without "
        "what all queries share; format: the share of the KL divergence over the vocabulary",
        "an update is set at the last token: zero-shot + alpha × update; n counts queries in which it is more than "
        "rounding",
    )


def _outcomes(transfer: Frame, several: bool) -> Iterator[Block]:
    """Yield every measure of every update at all attention outputs at once."""
    shown = transfer[(transfer["alpha"] == 1.0) & transfer["place"].isin([MODEL_ITSELF, ALL_ATTENTION])]
    if ALL_ATTENTION not in set(shown["place"]):
        shown = shown[shown["place"] == MODEL_ITSELF]
    rows = []
    for name, found in _updates(shown, several):
        by_measure = found.set_index("measure")
        some = by_measure.loc["closed"]
        cells = [_cell(by_measure.loc[measure]) for measure in _COLUMNS]
        rows.append((name, (*cells, (f"{some['defined']}/{some['of']}",))))
    yield Block(f"{ALL_ATTENTION}, alpha 1", (*_COLUMNS.values(), "n"), tuple(rows))


def _by_alpha(transfer: Frame, several: bool) -> Iterator[Block]:
    shown = transfer[(transfer["place"] == ALL_ATTENTION) & (transfer["measure"] == "closed")]
    alphas = sorted(set(shown["alpha"]) - {0.0})
    if len(alphas) < 2:
        return
    rows = []
    for name, found in _updates(shown[shown["update"] != NO_UPDATE], several):
        by_alpha = found.set_index("alpha")
        rows.append((name, tuple(_cell(by_alpha.loc[alpha]) for alpha in alphas)))
    yield Block("closed by alpha", tuple(f"alpha {alpha:g}" for alpha in alphas), tuple(rows))


def _by_layer(transfer: Frame, several: bool) -> Iterator[Block]:
    """Yield what each update closes in each layer, where it is given to one at a time."""
    shown = transfer[
        (transfer["measure"] == "closed") & (transfer["alpha"] == 1.0) & transfer["layer"].notna()
    ]
    for place, of_place in shown.groupby("place", sort=False):
        columns = {name: found.set_index("layer") for name, found in _updates(of_place, several)}
        layers = sorted({int(layer) for layer in of_place["layer"]})
        rows = [
            (str(layer), tuple(_cell(found.loc[layer]) for found in columns.values())) for layer in layers
        ]
        yield Block(f"closed: {place}, layer", tuple(columns), tuple(rows))


def _lengths(lengths: Frame, several: bool) -> Iterator[Block]:
    for (recipe, site), found in lengths.groupby(["recipe", "site"], sort=False):
        means = found.groupby("layer")[["icl", "ft", "along", "cosine"]].mean()
        rows = [
            (str(layer), tuple((_number(value),) for value in row))
            for layer, row in zip(means.index, means.to_numpy(dtype=float), strict=True)
        ]
        of = f", {recipe}" if several else ""
        columns = ("norm of ICL", "norm of FT", "norm of ICL along FT", "cosine")
        yield Block(f"updates: {str(site).replace('_', ' ')}{of}, layer", columns, tuple(rows))


def _updates(frame: Frame, several: bool) -> Iterator[tuple[str, Frame]]:
    """Yield the rows of each update by its name, with its recipe where there are several, in their order."""
    named = frame.assign(name=update_names(frame, several))
    for name in dict.fromkeys(named["name"]):
        yield str(name), named[named["name"] == name]


def update_names(frame: Frame, several: bool) -> list[str]:
    """Return what each row's update is called, with its recipe where there are several.

    Args:
        frame: Rows with ``update`` and ``recipe``.
        several: Whether there are several recipes.
    """
    pairs: Sequence[tuple[Any, Any]] = list(zip(frame["update"], frame["recipe"], strict=True))
    return [
        f"{update}, {recipe}"
        if isinstance(recipe, str) and (several or update == FINETUNED_MODEL)
        else update
        for update, recipe in pairs
    ]


def _cell(row: Any) -> Cell:
    """Return value, interval and spread over draws; parts that are not there are empty, so that columns align."""
    value, low, high, std = (float(row[name]) for name in ("value", "low", "high", "std"))
    interval = f"[{low:.2f}, {high:.2f}]" if low == low else ""
    return (_number(value), interval, f"± {std:.2f}" if std == std else "")


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
