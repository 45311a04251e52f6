"""What updates do when they are given to the zero-shot run, one layer at a time, at the last token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.first_maps import moved_outputs
from ...hooks.last_token import LastToken, RowWrite, last_token
from ...hooks.plan import Site
from ...models.loading import LanguageModel
from ...probes import derangement
from ...progress import Progress
from ...seeds import derive_seed
from .config import ImplicitUpdateConfig
from .draw import ImplicitDraw, LayerUpdates

CONDITIONS = ("own", "shared", "other", "mean", "own, MLP alone", "shared, MLP alone")
"""What is given: the query's own update, one for all, another query's, the mean change of the stream after the
layer; and the first two with the skip path left as it was zero-shot."""


@dataclass(frozen=True)
class _Given:
    """What one condition changes in one layer for one query.

    Attributes:
        outputs: What is added to the first maps' outputs, ``[m]``; None where nothing is.
        middle: What stands between attention and MLP, ``[d]``; None where that is left alone.
        after: What stands behind the layer, ``[d]``; None where that is left alone.
    """

    outputs: Tensor | None = None
    middle: Tensor | None = None
    after: Tensor | None = None


def judge(config: ImplicitUpdateConfig, model: LanguageModel, draw: ImplicitDraw) -> Tensor:
    """Return the label log-probabilities of every query under each condition in each layer, ``[N, L, K, C]``.

    Where the skip path is given too, the MLP still reads its zero-shot input, so that it adds what its changed
    weights make of that.

    Args:
        config: What is asked.
        model: The model.
        draw: The draw.
    """
    prompts, layers = draw.cell.prompts.zero_shot, len(draw.layers)
    partner = derangement(prompts.n, derive_seed("other updates", draw.cell.seed))
    found = torch.zeros(prompts.n, layers, len(CONDITIONS), prompts.n_options, dtype=torch.float64)
    with Progress("updates given", prompts.n, "queries") as bar:
        for query in range(prompts.n):
            given = [
                (place, kind, each)
                for place, layer in enumerate(draw.layers)
                for kind, each in enumerate(_given(draw, layer, place, query, int(partner[query])))
            ]
            ids, labels = prompts.full_ids(query), prompts.label_ids[query]
            with last_token(model, ids, labels, config.scoring) as token:
                size = max(1, token.most_rows)
                for start in range(0, len(given), size):
                    some = given[start : start + size]
                    scores = _run(draw, token, query, [(place, each) for place, _, each in some])
                    for row, (place, kind, _) in enumerate(some):
                        found[query, place, kind] = scores[row].double().cpu()
            bar.update()
    return found


def _given(draw: ImplicitDraw, layer: LayerUpdates, place: int, query: int, other: int) -> tuple[_Given, ...]:
    """Return what is given in one layer for one query under each of `CONDITIONS`."""
    middle, after = _streams(draw, "residual_middle", place), _streams(draw, "residual", place)
    assert layer.skip is not None
    own, shared = layer.updates.outputs[query], layer.shared.predicted[query]
    place_of_other = torch.tensor([other])
    of_other = layer.updates.select(place_of_other).on(layer.updates.inputs[query][None])[0]
    fitted = draw.half != draw.half[query]
    given = {
        "own": _Given(own, middle[1][query]),
        "shared": _Given(shared, middle[0][query] + layer.skip.predicted[query]),
        "other": _Given(of_other, middle[0][query] + middle[1][other] - middle[0][other]),
        "mean": _Given(after=after[0][query] + (after[1] - after[0])[fitted].mean(0)),
        "own, MLP alone": _Given(own),
        "shared, MLP alone": _Given(shared),
    }
    return tuple(given[condition] for condition in CONDITIONS)


def _streams(draw: ImplicitDraw, site: Site, place: int) -> tuple[Tensor, Tensor]:
    before, after = (each.arrays()[site][:, place].double() for each in (draw.zero_shot, draw.icl))
    return before, after


def _run(draw: ImplicitDraw, token: LastToken, query: int, rows: list[tuple[int, _Given]]) -> Tensor:
    """Run the last token with one condition a row, and return the label scores ``[R, C]``."""
    writes: list[RowWrite] = []
    moves: dict[int, tuple[Tensor, Tensor]] = {}
    for place in sorted({place for place, _ in rows}):
        layer = draw.layers[place]
        here = [(row, each) for row, (at, each) in enumerate(rows) if at == place]
        inputs = layer.updates.inputs[query]
        middle = [(row, each.middle) for row, each in here if each.middle is not None]
        writes += _write("residual_middle", layer, middle)
        writes += _write("mlp_input", layer, [(row, inputs) for row, _ in middle])
        writes += _write(
            "residual", layer, [(row, each.after) for row, each in here if each.after is not None]
        )
        outputs = [(row, each.outputs) for row, each in here if each.outputs is not None]
        if outputs:
            moves[layer.maps.layer] = _stacked(outputs)
    maps = {layer.maps.layer: layer.maps for layer in draw.layers}
    with moved_outputs(maps, moves, len(rows)):
        said = token.run(len(rows), writes)
    assert said.label_logprobs is not None
    return said.label_logprobs


def _write(site: Site, layer: LayerUpdates, rows: list[tuple[int, Tensor]]) -> list[RowWrite]:
    return [RowWrite(site, layer.maps.layer, *_stacked(rows))] if rows else []


def _stacked(rows: list[tuple[int, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([row for row, _ in rows]), torch.stack([each for _, each in rows]).float()
