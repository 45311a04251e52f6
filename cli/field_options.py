"""The options of a configuration: one a field, named, explained, defaulted and checked where the field is.

click takes options as data. Libraries that read a configuration's class (cyclopts, pydantic-settings, jsonargparse)
convert texts by types themselves, so that a check would stand twice, as theirs and as the field's, with messages of
their own, and a field that was not given, which a file may say, looks like one that was.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ..on_command_line import OnCommandLine
from .option_values import alternatives, value_of


@dataclass(frozen=True)
class FieldOption:
    """How one field is asked for.

    Attributes:
        place: The field's name, after those of the configurations that it is in: ``("plan", "layers")``.
        annotation: Its type.
        declared: What it says of its option.
        help: What it is.
        default: What it is where nothing is said, as help shows it.
    """

    place: tuple[str, ...]
    annotation: Any
    declared: OnCommandLine
    help: str
    default: str

    @property
    def parameter(self) -> str:
        """What click calls it."""
        return "_".join(self.place)

    @property
    def names(self) -> tuple[str, ...]:
        """Its option's names, the one that help shows first."""
        return tuple(dict.fromkeys((*self.declared.names, f"--{self.place[-1].replace('_', '-')}")))

    @property
    def is_truth(self) -> bool:
        """Whether it is true or false, so that its option alone says true."""
        return alternatives(self.annotation) == (bool,)

    @property
    def holds_several(self) -> bool:
        """Whether it is a list of values."""
        return any(get_origin(kind) in (tuple, list) for kind in alternatives(self.annotation))

    def option(self) -> click.Option:
        """Return click's option."""
        told = f"{self.help} [default: {self.default}]" if self.default else self.help
        shape: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if self.is_truth else {}
        return click.Option(
            [self.parameter, *self.names],
            help=told,
            default=None,
            type=str,
            multiple=self.declared.repeated,
            metavar=self.declared.example or ("[true|false]" if self.is_truth else "TEXT"),
            **shape,
        )

    def value(self, text: Any) -> Any:
        """Return what a text gives the field."""
        return value_of(text, self.annotation, self.declared, self.names[0])


def options_of(config: type[BaseModel], within: tuple[str, ...] = ()) -> Iterator[FieldOption]:
    """Yield every field of a configuration that the command line can say, and of those in it.

    Args:
        config: Its class.
        within: The fields that it stands in.
    """
    helps = helps_of(config)
    for name, field in config.model_fields.items():
        inner = [
            kind
            for kind in alternatives(field.annotation)
            if inspect.isclass(kind) and issubclass(kind, BaseModel)
        ]
        declared = next((each for each in field.metadata if isinstance(each, OnCommandLine)), OnCommandLine())
        if inner == [field.annotation]:
            yield from options_of(inner[0], (*within, name))
        elif not declared.hidden:
            yield FieldOption(
                (*within, name), field.annotation, declared, helps.get(name, ""), _default(field)
            )


def hidden_fields(config: type[BaseModel]) -> list[str]:
    """Name the fields that only YAML and Python can say."""
    return [
        name
        for name, field in config.model_fields.items()
        if any(isinstance(each, OnCommandLine) and each.hidden for each in field.metadata)
    ]


def helps_of(config: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a configuration and of those it is made from say of each field."""
    from docstring_parser import parse

    helps: dict[str, str] = {}
    for kind in reversed(config.__mro__):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__doc__:
            for entry in parse(kind.__doc__).params:
                helps[entry.arg_name] = " ".join((entry.description or "").replace("``", "").split())
    return helps


def given_values(options: list[FieldOption], values: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the fields that options were given for, those of a configuration within another nested.

    Args:
        options: All there are.
        values: What click read, by parameter.
    """
    given: dict[str, Any] = {}
    for option in options:
        text = values.get(option.parameter)
        if text not in (None, ()):
            inner = given
            for name in option.place[:-1]:
                inner = inner.setdefault(name, {})
            inner[option.place[-1]] = option.value(text)
    return given


def option_names(options: list[FieldOption], values: Mapping[str, str | None]) -> dict[str, str]:
    """Return what the command line calls the fields that options were given for."""
    return {each.place[-1]: each.names[0] for each in options if values.get(each.parameter) not in (None, ())}


def _default(field: Any) -> str:
    """Return a field's default as it would be typed; nothing where its help says what happens."""
    default = field.default
    if default is PydanticUndefined or default is None or default in ((), {}, ""):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return (
            ",".join(str(each) for each in default)
            if all(isinstance(e, str | int | float) for e in default)
            else ""
        )
    return str(default) if isinstance(default, str | int | float) else ""
