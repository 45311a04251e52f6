"""What is given where: the places of the zero-shot run, the updates that each takes, and their multiples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...hooks.plan import CapturePlan, Site
from ...hooks.resolved_plan import resolve_plan
from ...models.loading import LanguageModel
from ...study.names import (
    ALL_ATTENTION,
    ALONG,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MEAN_FT,
    MEAN_ICL,
    NO_UPDATE,
    ONE_ATTENTION,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
)
from ..comparison.cells import recipes_of
from ..comparison.finetuned import comparison_recipe
from .config import TransferConfig


@dataclass(frozen=True)
class Place:
    """Where updates are given.

    Attributes:
        name: What it is called.
        site: What is written.
        layers: In which layers, at once.
        alphas: By what updates are multiplied there.
    """

    name: str
    site: Site
    layers: tuple[int, ...]
    alphas: tuple[float, ...]

    @property
    def layer(self) -> int | None:
        """The layer, where it is one by itself."""
        return None if self.name == ALL_ATTENTION else self.layers[0]


@dataclass(frozen=True)
class Patch:
    """One row of every query: an update, multiplied, at a place.

    Attributes:
        place: The place.
        update: The update's name; `NO_UPDATE` writes what stands there.
        recipe: Whose finetuning it is of; None of ICL alone.
        alpha: The multiple.
    """

    place: Place
    update: str
    recipe: str | None
    alpha: float


def places_of(config: TransferConfig, model: LanguageModel) -> tuple[Place, ...]:
    """Return the places of a configuration in a model.

    Raises:
        UserError: If a layer is not there, or a site cannot be recorded.
    """
    every = resolve_plan(CapturePlan(sites=config.captured_sites), model).layers
    chosen = resolve_plan(CapturePlan(sites=("attention_output",), layers=config.layers), model).layers
    places: list[Place] = []
    for site in config.sites:
        if site == "attention_outputs":
            places.append(Place(ALL_ATTENTION, "attention_output", every, config.alphas))
        else:
            name = RESIDUAL_STREAM if site == "residual" else ONE_ATTENTION
            places += [Place(name, site, (layer,), config.layer_alphas) for layer in chosen]
    return tuple(places)


def patches_of(places: Sequence[Place], recipes: Sequence[str]) -> tuple[Patch, ...]:
    """Return every row of a query; with alpha 0 all updates of a place are one."""
    found: list[Patch] = []
    for place in places:
        if 0.0 in place.alphas:
            found.append(Patch(place, NO_UPDATE, None, 0.0))
        updates = [(update, None) for update in _of_icl(place)]
        updates += [(update, recipe) for recipe in recipes for update in _of_finetuning(place)]
        found += [
            Patch(place, update, recipe, alpha)
            for update, recipe in updates
            for alpha in place.alphas
            if alpha
        ]
    return tuple(found)


def _of_icl(place: Place) -> tuple[str, ...]:
    # In the residual stream a Gaussian as long as the update destroys the model, so it is no null there.
    gaussian = () if place.site == "residual" else (GAUSSIAN_ICL,)
    return (OWN_ICL, MEAN_ICL, PERMUTED_ICL, *gaussian)


def _of_finetuning(place: Place) -> tuple[str, ...]:
    gaussian = () if place.site == "residual" else (GAUSSIAN_FT,)
    return (OWN_FT, MEAN_FT, *gaussian, ALONG, REMAINDER, GAUSSIAN_ALONG)


def check_transfer(config: TransferConfig) -> None:
    """Refuse what no finetuning can follow, before anything is loaded.

    Raises:
        UserError: If a recipe cannot be read, or two have one name.
    """
    for recipe in recipes_of(config.recipes).values():
        comparison_recipe(config.finetuning(recipe))
