"""The updates of one draw at one site, query by query: of ICL and of finetuning, their parts, and their nulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.plan import Site
from ...probes.rounding import Floor
from ...probes.statistics import derangement
from ...probes.update_parts import along, gaussian_of_length, halves, means_of_halves
from ...probes.vectors import without_rounding
from ...seeds import derive_seed
from ...study.names import (
    ALONG,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MEAN_FT,
    MEAN_ICL,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
)
from .settings import Settings

LENGTHS = ("icl", "ft", "along", "cosine")


@dataclass(frozen=True, eq=False)
class Update:
    """One update of one query.

    Attributes:
        step: In each layer, ``[L, d]``.
        defined: In which layers there is one that is more than rounding, ``[L]``.
    """

    step: Tensor
    defined: Tensor


class Updates:
    """The updates of all queries at one site; each query's are made when they are asked for.

    Means are of one half of the queries and judged on the other, each half with the other's mean.

    Attributes:
        half: Which half each query belongs to, ``[N]``.
    """

    def __init__(self, settings: Settings, site: Site, seed: int) -> None:
        """Divide the queries and take their means.

        Args:
            settings: What was recorded.
            site: An activation of width d.
            seed: Seed of the draw.
        """
        self._zero_shot = _array(settings.zero_shot, site)
        self._icl = _array(settings.icl, site)
        self._finetuned = {name: _array(each, site) for name, each in settings.finetuned.items()}
        self._floors, self._site, self._seed = settings.floors, site, seed
        queries = len(self._zero_shot)
        self.half = halves(queries, derive_seed("transfer halves", seed))
        self._partner = derangement(queries, derive_seed("transfer permuted", seed))
        self._mean_icl = means_of_halves(self._zero_shot, self._icl, self.half)
        self._mean_ft = {
            name: means_of_halves(self._zero_shot, each, self.half) for name, each in self._finetuned.items()
        }

    def of(self, query: int) -> Mapping[tuple[str, str | None], Update]:
        """Return every update of one query, by its name and the recipe that it is of."""
        other = 1 - int(self.half[query])
        own = self._icl_update(query)
        found: dict[tuple[str, str | None], Update] = {
            (OWN_ICL, None): self._update(query, own, self._floors.icl),
            (MEAN_ICL, None): self._update(query, self._mean_icl[other], self._floors.icl),
            (PERMUTED_ICL, None): self._update(
                query, self._icl_update(int(self._partner[query])), self._floors.icl
            ),
            (GAUSSIAN_ICL, None): self._gaussian(query, own, self._floors.icl, GAUSSIAN_ICL),
        }
        for recipe in self._finetuned:
            step = self._finetuned[recipe][query].double() - self._zero_shot[query].double()
            finetuned = self._update(query, step, self._floors.ft)
            # A change that is only rounding is no direction.
            part = along(own, step.masked_fill(~finetuned.defined[:, None], 0.0))
            both = finetuned.defined & found[OWN_ICL, None].defined
            gaussian = self._gaussian(query, part, 0.0, GAUSSIAN_ALONG)
            found |= {
                (OWN_FT, recipe): finetuned,
                (MEAN_FT, recipe): self._update(query, self._mean_ft[recipe][other], self._floors.ft),
                (GAUSSIAN_FT, recipe): self._gaussian(query, step, self._floors.ft, GAUSSIAN_FT),
                (ALONG, recipe): Update(part, both),
                (REMAINDER, recipe): Update(own - part, both),
                (GAUSSIAN_ALONG, recipe): Update(gaussian.step, both),
            }
        return found

    def all_lengths(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return of each recipe the lengths of updates and their cosine, ``[N, L]`` by name; NaN where undefined."""
        found: dict[str, dict[str, list[Tensor]]] = {
            name: {key: [] for key in LENGTHS} for name in self._finetuned
        }
        for query in range(len(self.half)):
            of_query = self.of(query)
            own = of_query[OWN_ICL, None].step
            for recipe, kept in found.items():
                step, part = of_query[OWN_FT, recipe].step, of_query[ALONG, recipe]
                icl, ft, shared = (torch.linalg.vector_norm(each, dim=-1) for each in (own, step, part.step))
                cosine = (own * step).sum(-1) / (icl * ft)
                undefined = ~part.defined
                values = (
                    icl,
                    ft,
                    shared.masked_fill(undefined, torch.nan),
                    cosine.masked_fill(undefined, torch.nan),
                )
                for key, value in zip(LENGTHS, values, strict=True):
                    kept[key].append(value)
        return {name: {key: torch.stack(each) for key, each in kept.items()} for name, kept in found.items()}

    def unmoved(self, recipe: str | None) -> int:
        """Return of how many queries a recipe's finetuning, or ICL where it is None, moved nothing in any layer."""
        count = 0
        for query in range(len(self.half)):
            if recipe is None:
                update = self._update(query, self._icl_update(query), self._floors.icl)
            else:
                step = self._finetuned[recipe][query].double() - self._zero_shot[query].double()
                update = self._update(query, step, self._floors.ft)
            count += not bool(update.defined.any())
        return count

    def _icl_update(self, query: int) -> Tensor:
        return self._icl[query].double() - self._zero_shot[query].double()

    def _update(self, query: int, step: Tensor, floor: Floor) -> Update:
        lengths = torch.linalg.vector_norm(self._zero_shot[query].double(), dim=-1)
        kept = without_rounding(step, torch.as_tensor(floor) * lengths)
        return Update(step, (kept != 0).any(dim=-1))

    def _gaussian(self, query: int, like: Tensor, floor: Floor, name: str) -> Update:
        seed = derive_seed("transfer", name, self._site, self._seed, query)
        lengths = torch.linalg.vector_norm(like, dim=-1)
        drawn = gaussian_of_length(lengths, like.shape[-1], seed)
        return Update(drawn, self._update(query, like, floor).defined)


def _array(capture: object, site: Site) -> Tensor:
    array = getattr(capture, site)
    assert isinstance(array, Tensor)
    return array
