"""What is taken from a row: which columns hold the fields and the label.

Columns are found by name. For a field of the template these are tried in turn: a column that the user maps to
it, a column of the field's own name, and the column that the catalogue knows the dataset by. So the hub's
`sentence` and a local file's `text` both fill `{text}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UserError, shown
from .column_names import listed
from .delimited_files import Quoting
from .label_values import LabelMeaning, label_meaning, spelled_names
from .template_fields import LABEL_FIELD

Counting = Literal["unsaid", "from_zero", "never"]
"""What an integer is that is no label's name: the number of a label, supposed or said to be counted from 0, or
nothing."""


@dataclass(frozen=True)
class RecordFormat:
    """What to take from a row.

    Attributes:
        fields: The text fields that the template needs.
        label_names: Names of the labels in label order; see `label_values` for what means them.
        columns: `{column: field}` as the user mapped them; the label's field is `label`.
        known_columns: `{column: field}` as the catalogue knows the dataset.
        quoting: What quotation marks are in CSV and TSV files.
        counting: What an integer in the data is that is no label's name.
    """

    fields: tuple[str, ...]
    label_names: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    known_columns: Mapping[str, str] = field(default_factory=dict)
    quoting: Quoting = "auto"
    counting: Counting = "unsaid"

    def __post_init__(self) -> None:
        """Refuse a mapping to a field that nothing reads, which would hide a typing error, and the label as one."""
        for column, name in self.columns.items():
            if name not in (*self.fields, LABEL_FIELD):
                raise UserError(
                    f"The column {shown(column)} is mapped to {shown(name)}, which the template does not use: "
                    f"map to one of {listed((*self.fields, LABEL_FIELD))}."
                )
        spelled_names(tuple(self.label_names))
        self._refuse_the_label_as_a_field()

    def _refuse_the_label_as_a_field(self) -> None:
        maps = {**self.known_columns, **self.columns}
        labels = {LABEL_FIELD, *(column.casefold() for column, name in maps.items() if name == LABEL_FIELD)}
        for name in self.fields:
            for column in (name, *(column for column, target in maps.items() if target == name)):
                if column.casefold() in labels:
                    raise UserError(
                        f"The field {{{name[:40]}}} of the template is the column {shown(column)}, which holds the "
                        "label "
                        "and would show the model the right answer: leave it out, or rename it if it is a text."
                    )

    def meaning(self, value: object) -> LabelMeaning | None:
        """Which label a value means; None where it means none."""
        return label_meaning(value, self.label_names, counting=self.counting != "never")

    def column_of(self, name: str, place: str, row: Mapping[str, Any]) -> str:
        """The column of a row that holds a field.

        Raises:
            UserError: When there is none, or two that the user maps to it.
        """
        mapped = [column for column, target in self.columns.items() if target == name]
        known = [column for column, target in self.known_columns.items() if target == name]
        candidates = mapped or [name, *known]
        found = [column for column in candidates if column in row]
        if len(found) > 1 and mapped:
            raise UserError(
                f"{place} has the columns {' and '.join(map(shown, found[:2]))}, which are both mapped to "
                f"{shown(name)}: "
                "map one of them."
            )
        if found:
            return found[0]
        wanted = " or ".join(shown(column)[:40] for column in candidates[:2])
        raise UserError(
            f"{place} has no column {wanted} (it has {listed(row)}): name the one that holds it with "
            f"columns={{column: {name[:40]!r}}} (--columns column={name[:40]})."
        )
