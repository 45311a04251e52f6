"""A study of comparisons: numbers by name, and each comparison by its recipe and number of shots."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...errors import shown
from ...models.recipe import load_recipe
from ...study.columns import FACTS
from ...study.finding import in_order
from ...study.study import Study
from .findings import comparison_findings
from .measures import Intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Comparison(Study):
    """In-context learning and finetuning side by side, for one recipe and number of shots or several."""

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """The recipe, or finetuned model, and the number of shots of each comparison, in the order asked for."""
        keys = self.tables["over_draws"][["recipe", "shots"]].drop_duplicates()
        return tuple((str(recipe), int(shots)) for recipe, shots in keys.itertuples(index=False))

    def __getitem__(self, key: str | tuple[str, int]) -> Any:
        """Return a number by its name, mean over draws; or one comparison, such as ``comparison["dai", 4]``.

        Raises:
            KeyError: If there is none, or several comparisons have the number; it names what there is.
        """
        if isinstance(key, tuple):
            return self._cell(key)
        if len(self.cells) > 1:
            raise KeyError(f"there are several comparisons: take {shown(key)} of one, {self._there}")
        means = self.tables["over_draws"].set_index("measure")["mean"]
        if key not in means:
            raise KeyError(f"no measure {shown(key)}: there are {', '.join(means.index)}")
        return float(means[key])

    def plot(self, kind: str | None = None) -> Figure:
        """Draw one picture.

        Args:
            kind: Which; None is ``layer_profile`` of one comparison, and ``grid`` of several.

        Raises:
            KeyError: If there is none, or it is drawn of one comparison and there are several.
        """
        several = len(self.cells) > 1
        if several and kind in self.drawers() and kind != "grid":
            raise KeyError(f"figure {kind!r} is drawn of one comparison: take {self._there}")
        return super().plot("grid" if several and kind is None else kind)

    def figures(self) -> dict[str, Figure]:
        """Draw every picture: the three of each comparison, and the grid of several."""
        of_one = [kind for kind in self.drawers() if kind != "grid"]
        if len(self.cells) == 1:
            return {kind: self.plot(kind) for kind in of_one}
        drawn = {"grid": self.plot("grid")}
        for recipe, shots in self.cells:
            one, name = self[recipe, shots], f"{shots}shots-{re.sub(r'[^A-Za-z0-9._]+', '-', recipe)}"
            while f"{of_one[0]}-{name}" in drawn:
                name += "-again"
            drawn |= {f"{kind}-{name}": one.plot(kind) for kind in of_one}
        return drawn

    @property
    def _there(self) -> str:
        return "there are " + ", ".join(f"[{recipe!r}, {shots}]" for recipe, shots in self.cells)

    def _cell(self, key: tuple[str, int]) -> Comparison:
        """Return one comparison as it would be alone."""
        if key not in self.cells:
            raise KeyError(f"no comparison {shown(key)}: {self._there}")
        where: dict[str, Any] = {"recipe": key[0], "shots": key[1]}
        tables = {
            name: frame[(frame["recipe"] == key[0]) & (frame["shots"] == key[1])].reset_index(drop=True)
            for name, frame in self.tables.items()
            if name != FACTS.name
        }
        tables[FACTS.name] = FACTS.frame(tables["cell_facts"][["name", "text"]])
        warnings = [
            finding
            for finding in self.findings
            if finding.kind == "warning" and where.items() <= dict(finding.where).items()
        ]
        intervals = Intervals(self.config.resamples, self.config.level)
        recipes = [
            recipe
            for recipe in self.config.recipes
            if self.config.finetuned or load_recipe(recipe).name == key[0]
        ]
        config = self.config.model_copy(update={"shots": (key[1],), "recipes": tuple(recipes)})
        findings = (*comparison_findings(tables, where, intervals), *warnings)
        return type(self)(self.analysis, config, tables, in_order(findings), self.provenance, self.arrays)
