"""A study of comparisons: numbers by name, and each comparison by what is finetuned and its number of shots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from ...errors import shown
from ...study.columns import FACTS
from ...study.finding import in_order
from ...study.study import Study
from .findings import comparison_findings
from .measures import Intervals
from .series_table import SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...study.figure_kinds import FigureKinds


_OF_SEVERAL = ("series", "grid")


class Comparison(Study):
    """In-context learning and finetuning side by side, for one recipe and number of shots or several.

    What somebody else finetuned stands in the place of a recipe, under its name.
    """

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

    @overload
    def plot(self, kind: Literal["?"], *, width: float | None = None) -> FigureKinds: ...  # pyright: ignore[reportOverlappingOverload]

    @overload
    def plot(self, kind: str | None = None, *, width: float | None = None) -> Figure: ...

    def plot(self, kind: str | None = None, *, width: float | None = None) -> Figure | FigureKinds:
        """Draw one picture; or say with ``?`` which there are, a line each.

        Args:
            kind: Which; None is ``layer_profile`` of one comparison, ``series`` of the checkpoints of one training
                run, and ``grid`` of any others.
            width: In inches; None is the picture's own width.

        Raises:
            KeyError: If there is none, or it is drawn of one comparison and there are several.
        """
        several = len(self.cells) > 1
        if several and kind in self.drawers() and kind not in _OF_SEVERAL:
            raise KeyError(f"figure {kind!r} is drawn of one comparison: take {self._there}")
        return super().plot(self._of_several[0] if several and kind is None else kind, width=width)

    def drawers(self) -> Mapping[str, Any]:
        """Return what draws each picture, or its place, by its kind; ``series`` is there of a series alone."""
        found = super().drawers()
        return {kind: draw for kind, draw in found.items() if kind != "series" or len(self.tables["series"])}

    def figures(self) -> dict[str, Figure]:
        """Draw every picture: the three of each comparison, and of several the series or the grid."""
        of_one = [kind for kind in self.drawers() if kind not in _OF_SEVERAL]
        if len(self.cells) == 1:
            return {kind: self.plot(kind) for kind in of_one}
        drawn = {kind: self.plot(kind) for kind in self._of_several}
        for recipe, shots in self.cells:
            one, name = self[recipe, shots], f"{shots}shots-{re.sub(r'[^A-Za-z0-9._]+', '-', recipe)}"
            while f"{of_one[0]}-{name}" in drawn:
                name += "-again"
            drawn |= {f"{kind}-{name}": one.plot(kind) for kind in of_one}
        return drawn

    @property
    def _of_several(self) -> list[str]:
        """What is drawn of several comparisons: a grid has no place for many steps at one number of shots."""
        grid = not len(self.tables["series"]) or len({shots for _, shots in self.cells}) > 1
        return [kind for kind in self.drawers() if kind == "series" or (kind == "grid" and grid)]

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
        tables[SERIES.name] = SERIES.frame([])  # One checkpoint is no series.
        tables[FACTS.name] = FACTS.frame(tables["cell_facts"][["name", "text"]])
        warnings = [
            finding
            for finding in self.findings
            if finding.kind == "warning" and where.items() <= dict(finding.where).items()
        ]
        intervals = Intervals(self.config.resamples, self.config.level)
        asked = "finetuned" if self.config.finetuned else "recipes"
        names = list(dict.fromkeys(recipe for recipe, _ in self.cells))
        this = getattr(self.config, asked)[names.index(key[0])]
        config = self.config.model_copy(update={"shots": (key[1],), asked: (this,)})
        findings = (*comparison_findings(tables, where, intervals), *warnings)
        return type(self)(self.analysis, config, tables, in_order(findings), self.provenance, self.arrays)
