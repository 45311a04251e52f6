"""Every number that a user can give has bounds, and what lies beyond ends in one sentence."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from iclprobe import analyses
from iclprobe.analyses.weights.checkpoints import Checkpoint
from iclprobe.cli import main
from iclprobe.cli.field_options import options_of
from iclprobe.errors import UserError
from iclprobe.models.pocket.train import PocketRecipe
from iclprobe.settings import Settings, make_config
from iclprobe.study.analysis import registered_analyses

ABSURD = (
    1e30,
    -1e30,
    10**20,
    -(10**20),
    10**5000,
    math.nan,
    math.inf,
    -math.inf,
    "1e30",
    "nan",
    "9" * 20,
    True,
)
REQUIRED: dict[str, Any] = {
    "checkpoints": [Checkpoint("a"), Checkpoint("b")],
    "arms": "dai",
    "paper": "shen2024",
    "name": "fig2",
    "kind": "sparsity",
    "scale": "pocket",
    "parts": {},
    "experiments": (),
    "analysis": "compare",
}
# Below zero they have a meaning of their own: a draw's name, or counted from the end.
SIGNED = {"seeds", "seed", "order", "layers", "positions"}


for module in pkgutil.walk_packages(analyses.__path__, f"{analyses.__name__}."):
    importlib.import_module(module.name)


def _subclasses(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _configurations(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _configurations(kind)


def _holds_numbers(annotation: Any) -> bool:
    if get_origin(annotation) is dict:
        return False
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _holds_numbers(parts[0])
    return annotation in (int, float) or any(map(_holds_numbers, parts))


def _is_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_is_tuple, get_args(annotation)))


FIELDS = [
    pytest.param(kind, name, field, id=f"{kind.__name__}-{name}")
    for kind in sorted(set(_configurations()), key=lambda kind: kind.__name__)
    if kind.__module__.startswith("iclprobe")
    for name, field in kind.model_fields.items()
]


@pytest.mark.parametrize(("kind", "name", "field"), FIELDS)
def test_a_configuration_takes_no_absurd_number(kind: type[Settings], name: str, field: FieldInfo) -> None:
    numeric = _holds_numbers(field.annotation)
    base = {key: REQUIRED[key] for key, each in kind.model_fields.items() if each.is_required()}
    absurd = [*ABSURD, *([] if name in SIGNED else [-1, -1.5])]
    for value in absurd:
        for given in (value, [value], {"a": value}):
            try:
                make_config(kind, {**base, name: given}, "the test")
            except UserError as error:
                assert len(str(error)) <= 300 and name in str(error)
            else:
                assert not numeric, f"{name} takes {str(given)[:60]}"


def _options() -> Iterator[Any]:
    for analysis in registered_analyses().values():
        for field in options_of(analysis.config):
            if _holds_numbers(field.annotation):
                yield pytest.param(
                    analysis.command, field.names[0], id=f"{analysis.command}-{field.parameter}"
                )


@pytest.mark.parametrize(("command", "option"), _options())
def test_a_command_takes_no_absurd_number(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"drift": ["a", "b"]}.get(command, [])
    for value in ("1e30", str(-(10**20)), "9" * 5000, "nan"):
        assert main([command, *places, f"{option}={value}"]) == 2, value[:60]
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and len(said[0]) <= 300, said


def test_every_frozen_model_of_values_has_the_bounds_of_a_configuration() -> None:
    """Whatever pydantic builds in this package is a configuration, and so it is walked above."""
    own = {kind for kind in _subclasses(BaseModel) if kind.__module__.startswith("iclprobe")}
    assert PocketRecipe in own
    assert own == {Settings, *(kind for kind in _configurations() if kind in own)}


def test_all_commands_and_configurations_are_walked() -> None:
    assert len(FIELDS) > 150 and len(list(_options())) > 40
