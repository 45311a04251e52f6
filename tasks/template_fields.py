"""Which fields a template's text names, and which it may not name."""

from __future__ import annotations

from string import Formatter

from ..errors import UserError, reason_of, shown

LABEL_FIELD = "label"
"""The field name under which a column map and a dataset know the label. No template may name it."""


def template_fields(query: str) -> tuple[str, ...]:
    """The fields that a template's text names, in the order of their first use.

    Raises:
        UserError: For text that cannot be read; for a field that is more than a plain name, as a conversion, a
            format or an attribute would change what the record says; and for the label, which would show the
            model the answer.
    """
    try:
        parts = list(Formatter().parse(query))
    except ValueError as error:
        raise UserError(
            f"The template {shown(query)} cannot be read ({reason_of(error, 80)}): write fields as {{text}}, "
            "and literal braces twice."
        ) from error
    names = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if form or conversion:
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise UserError(
                f"The template {shown(query)} has {{{written[:40]}}}: a field stands in the prompt as it is in the "
                f"record, so write {{{name[:40]}}}."
            )
        if not name.isidentifier():
            raise UserError(
                f"The template {shown(query)} has the field {{{name[:40]}}}: write plain names, like {{text}}, and "
                "map "
                "columns that go by other names with columns={column: field} (--columns column=field)."
            )
        if name.casefold() == LABEL_FIELD:
            raise UserError(
                f"The template {shown(query)} names {{{name[:40]}}}, which would show the model the right answer: "
                "leave "
                "it out; the label word follows the text by itself."
            )
        names.append(name)
    return tuple(dict.fromkeys(names))
