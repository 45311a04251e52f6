"""What all results have in common, whatever they hold."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from iclprobe import probes


def result_types() -> list[type]:
    modules = [
        importlib.import_module(f"iclprobe.probes.{m.name}") for m in pkgutil.iter_modules(probes.__path__)
    ]
    found = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    own = [
        thing for thing in found if is_dataclass(thing) and thing.__module__.startswith("iclprobe.probes.")
    ]
    return sorted(own, key=lambda result: result.__name__)


TYPES = result_types()


def test_there_are_results():
    assert {"SimAOU", "Moments", "TopTokens"} <= {result.__name__ for result in TYPES}


@pytest.mark.parametrize("result", TYPES)
def test_a_result_stays_what_it_was(result: type) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(object.__new__(result), fields(result)[0].name, None)


def hold_tensors(results: list[type]) -> list[type]:
    """Those with a tensor among their fields, or with a result that has one."""
    names = {result.__name__ for result in results}
    return [
        result
        for result in results
        if any("Tensor" in str(field.type) or str(field.type) in names for field in fields(result))
    ]


@pytest.mark.parametrize("result", hold_tensors(TYPES))
def test_results_that_hold_tensors_are_told_apart_without_comparing_tensors(result: type) -> None:
    one, other = object.__new__(result), object.__new__(result)
    assert one == one and one != other and len({one, other, one}) == 2
