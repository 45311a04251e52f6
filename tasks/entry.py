"""One row of the task catalogue: where a dataset lives, what its labels are, how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UserError, shown
from .task import Record, Template

RecordPools = tuple[Sequence[Record], Sequence[Record]]
"""Train records, then validation records."""


@dataclass(frozen=True)
class TaskEntry:
    """Everything the catalogue knows about one task.

    Attributes:
        name: What the user types.
        label_names: Names of the labels in the order of the dataset's label ids.
        templates: The variants, the default first; their names must differ.
        hub_id: Dataset on the Hugging Face hub, for example `nyu-mll/glue`.
        hub_config: Configuration of that dataset, for example `sst2`.
        train_split: Split that demonstrations are drawn from.
        evaluation_split: Split that is asked.
        columns: The dataset's column names where they differ from the template's field names, as
            `{column: field}`; the label's field is called `label`.
        records: For tasks that make their own records: returns the train and the validation pool.
        description: One line for listings.
    """

    name: str
    label_names: tuple[str, ...]
    templates: tuple[Template, ...]
    hub_id: str | None = None
    hub_config: str | None = None
    train_split: str = "train"
    evaluation_split: str = "validation"
    columns: Mapping[str, str] = field(default_factory=dict)
    records: Callable[[], RecordPools] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse an entry without a template and two templates of one name."""
        object.__setattr__(self, "label_names", tuple(self.label_names))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.templates:
            raise UserError(f"The task entry {shown(self.name)} has no template: give at least one.")
        if len(set(self.variants)) < len(self.variants):
            raise UserError(f"The task entry {shown(self.name)} names two templates alike: {self.variants}.")

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the template variants, the default first."""
        return tuple(template.name for template in self.templates)

    def template(self, variant: str | None = None) -> Template:
        """The template called `variant`, or the default one.

        Raises:
            UserError: If there is none of that name.
        """
        for template in self.templates:
            if variant in (None, template.name):
                return template
        raise UserError(
            f"Task {shown(self.name)} has no template {shown(variant)}: choose from {', '.join(self.variants)}, "
            "or give the template's text with its fields in braces."
        )
