"""Studies of transfer, made by hand for what is drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from made_study import LONG, study_of

from iclprobe.probes.transfer import MEASURES
from iclprobe.study.names import (
    ALL_ATTENTION,
    ALONG,
    FINETUNED_MODEL,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MEAN_FT,
    MEAN_ICL,
    MODEL_ITSELF,
    NO_UPDATE,
    ONE_ATTENTION,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
)

OF_ICL = (OWN_ICL, MEAN_ICL, PERMUTED_ICL, GAUSSIAN_ICL)
OF_FT = (OWN_FT, MEAN_FT, GAUSSIAN_FT, ALONG, REMAINDER, GAUSSIAN_ALONG)


def transfer_study(
    layers: int = 26,
    recipes: Sequence[str] = ("dai", LONG),
    alphas: Sequence[float] = (0, 0.5, 1, 1.5, 2),
    seeds: Sequence[int] = (0, 1, 2),
    sites: Sequence[str] = ("attention_outputs", "residual", "attention_output"),
    undefined: bool = False,
) -> Any:
    """A study with every place, update and recipe; undefined, nothing is known of finetuning."""
    random = np.random.default_rng(0)
    keys: list[tuple[str, int | None, str, str | None, float]] = [
        (MODEL_ITSELF, None, FINETUNED_MODEL, recipe, 1.0) for recipe in recipes
    ]

    def updates(place: str, layer: int | None, multiples: Sequence[float]) -> None:
        keys.append((place, layer, NO_UPDATE, None, 0.0))
        of_icl = [(update, None) for update in OF_ICL if place != RESIDUAL_STREAM or update != GAUSSIAN_ICL]
        of_ft = [
            (update, recipe)
            for recipe in recipes
            for update in OF_FT
            if place != RESIDUAL_STREAM or update != GAUSSIAN_FT
        ]
        for update, recipe in (*of_icl, *of_ft):
            keys.extend((place, layer, update, recipe, float(alpha)) for alpha in multiples if alpha)

    if "attention_outputs" in sites:
        updates(ALL_ATTENTION, None, alphas)
    for site, place in (("residual", RESIDUAL_STREAM), ("attention_output", ONE_ATTENTION)):
        for layer in range(layers) if site in sites else ():
            updates(place, layer, (1,))
    rows = []
    for place, layer, update, recipe, alpha in keys:
        for measure in MEASURES:
            value = (
                random.normal(0.3, 0.6) if update not in (GAUSSIAN_FT, GAUSSIAN_ICL) else random.normal(-2, 3)
            )
            if undefined and recipe is not None:
                value = np.nan
            rows.append(
                {
                    "place": place,
                    "layer": layer,
                    "update": update,
                    "recipe": recipe,
                    "alpha": alpha,
                    "measure": measure,
                    "value": value,
                    "low": value - random.uniform(0, 0.4),
                    "high": value + random.uniform(0, 0.4),
                    "std": random.uniform(0, 0.3) if len(seeds) > 1 else np.nan,
                    "draws": len(seeds),
                    "defined": 40 * len(seeds),
                    "of": 40 * len(seeds),
                }
            )
    queries = [
        {
            "seed": seed,
            "query": query,
            "query_index": query,
            "text": "a film",
            "gold": "good",
            "half": query % 2,
        }
        for seed in seeds
        for query in range(40)
    ]
    options = {
        "recipes": tuple({"preset": "dai", "name": recipe} for recipe in recipes),
        "seeds": tuple(seeds),
        "alphas": tuple(alphas),
        "sites": tuple(sites),
    }
    return study_of("transfer", {"transfer": rows, "queries": queries}, options)
