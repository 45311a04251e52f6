"""What an experiment of a paper is: data that says what to run, what to show, and what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Paper = Literal["shen2024", "barnatan"]
Scale = Literal["pocket", "paper"]
Kind = Literal["sparsity", "drift", "compare", "gradients", "order", "outputs"]
Source = Literal["text", "figure read off"]

PAPERS: Mapping[Paper, str] = {
    "shen2024": "Shen, Mishra and Khashabi 2024, Do pretrained Transformers Learn In-Context by Gradient Descent?",
    "barnatan": "Bar Natan, Deutch and Magar, Rethinking In-Context Learning in LLMs as Gradient Descent",
}
SCALES: tuple[Scale, ...] = ("pocket", "paper")


@dataclass(frozen=True)
class Published:
    """A number that a paper gives.

    Attributes:
        row: The row of the experiment's table that it belongs to.
        column: The column.
        value: The number, in the unit of the experiment's table.
        source: Whether it stands in the text or was read off a figure.
        high: The upper end where a range was read off, of which `value` is the lower end.
    """

    row: str
    column: str
    value: float
    source: Source = "text"
    high: float | None = None


@dataclass(frozen=True)
class Part:
    """One study of an experiment, such as one dataset of a table.

    Attributes:
        label: What the paper calls it: a dataset or a model.
        settings: What differs from the experiment's settings.
        pocket: What differs at pocket scale besides.
    """

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    pocket: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row of a table made of comparisons.

    Attributes:
        label: What the paper calls it.
        measure: The comparison's name of the number.
        recipe: Which of the part's recipes it is about.
        panel: The panel of the figure that it is drawn in, with its unit.
    """

    label: str
    measure: str
    recipe: str = "dai"
    panel: str = "accuracy (%)"


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper, as data.

    Attributes:
        paper: Which paper.
        name: ``fig4``, ``table2``.
        title: What it shows.
        kind: The analysis that measures it.
        settings: The analysis' settings at the paper's scale.
        parts: One study for each.
        pocket: What changes at pocket scale, besides datasets and models, which `scales` maps.
        view: How its numbers are laid out, see `views`.
        figure: How it is drawn, see `reports.papers_figures`.
        rows: Rows of a table made of comparisons.
        arms: Of a study of several ways of finetuning, those that are shown; none is all.
        shots: Of a study of several numbers of demonstrations, those that are shown; none is all.
        published: What the paper gives.
        footnotes: Keys of `footnotes.FOOTNOTES`.
    """

    paper: Paper
    name: str
    title: str
    kind: Kind
    settings: Mapping[str, Any]
    parts: tuple[Part, ...]
    view: str
    figure: str
    pocket: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    arms: tuple[str, ...] = ()
    shots: tuple[int, ...] = ()
    published: tuple[Published, ...] = ()
    footnotes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that parts and published numbers are told apart."""
        labels = [part.label for part in self.parts]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"{self.paper} {self.name} needs parts with different labels, got {labels}")
        places = [(number.row, number.column) for number in self.published]
        if len(set(places)) < len(places):
            raise ValueError(f"{self.paper} {self.name} publishes two numbers in one place")

    @property
    def key(self) -> str:
        """The name of its folder: paper and name."""
        return f"{self.paper}-{self.name}"

    @property
    def seeds(self) -> int:
        """How many draws of demonstrations there are at the paper's scale."""
        counts = [len(part.settings.get("seeds", self.settings.get("seeds", (0,)))) for part in self.parts]
        return max(counts)


@dataclass(frozen=True)
class Claim:
    """An empirical sentence of a paper, and how it is judged.

    Attributes:
        paper: Which paper.
        section: Where it stands.
        quote: The sentence, shortened.
        measured_as: What is measured, in words.
        experiments: Keys of the experiments whose studies it is measured from.
        effect: The name of the effect, see `effect_names`.
        arguments: What the effect is told besides the studies.
        above: The effect must be larger for the claim to hold.
        below: The effect must be smaller.
        unit: The effect's unit.
    """

    paper: Paper
    section: str
    quote: str
    measured_as: str
    experiments: tuple[str, ...]
    effect: str
    arguments: tuple[Any, ...] = ()
    above: float | None = None
    below: float | None = None
    unit: str = ""
