"""A damaged model ends in one sentence or in the numbers of the whole one: no traceback, no hang, no other numbers.

Three commands stand for the three ways in which models are loaded: `prompt` reads settings and tokenizer, `gradients`
loads the model as every analysis does, and `sparsity` reads tensors without a model. They meet a third of the
damages, half of these every day. The other commands come in by the same doors; they meet an eighth, and those that
measure for seconds only where `gradients` was refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_commands import (
    DOORS,
    OTHER_COMMANDS,
    QUICK,
    Whole,
    all_damages,
    arguments,
    files_in,
    require_sentence,
    require_sound,
    run,
    write_whole,
)
from damaged_models import Damage

WHOLE = pytest.fixture(scope="session", name="whole")(
    lambda tmp_path_factory: write_whole(tmp_path_factory.mktemp("m"))
)


DAMAGES = all_damages()
# One in so many damages is met, spread over all files and settings: each command meets more than a hundred, and the
# whole suite stays within a quarter of an hour.
FOR_DOORS, FOR_OTHERS = 3, 8


def share(one_in: int, everyday: int = 0) -> list[pytest.ParameterSet]:
    """One in so many damages; of those, one in so many belongs to the everyday run."""
    return [
        pytest.param(
            damage,
            id=f"{damage.model}, {damage.name}",
            marks=() if everyday and place % everyday == 0 else pytest.mark.slow,
        )
        for place, damage in enumerate(DAMAGES[::one_in])
    ]


@pytest.fixture(autouse=True)
def _elsewhere(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where every file that is written beside the results is seen."""
    monkeypatch.chdir(whole.folder)


@pytest.mark.parametrize("damage", share(FOR_DOORS, everyday=2))
def test_a_damaged_model_is_refused_or_has_the_numbers_of_the_whole_one(damage: Damage, whole: Whole) -> None:
    told = set()
    with whole.damaged(damage) as folder:
        before = files_in(whole.folder)
        for command in DOORS:
            answer = run(arguments(command, folder, whole))
            require_sound(answer, whole.said(command, damage.model), damage, folder)
            told |= {answer.err} if answer.code == 2 else set()
        assert files_in(whole.folder) == before
    assert not damage.told or any(damage.told in each for each in told), (damage.told, told)


@pytest.mark.parametrize("damage", share(FOR_OTHERS))
def test_every_other_command_loads_by_the_same_doors(damage: Damage, whole: Whole) -> None:
    with whole.damaged(damage) as folder:
        before = files_in(whole.folder)
        loads = run(arguments("gradients", folder, whole)).code == 0
        for command in OTHER_COMMANDS:
            if command in QUICK:
                answer = run(arguments(command, folder, whole))
                require_sound(answer, whole.said(command, damage.model), damage, folder)
            elif not loads:
                answer = run(arguments(command, folder, whole))
                assert answer.code == 2
                require_sentence(answer, damage, folder)
        assert files_in(whole.folder) == before


def test_there_are_a_hundred_damages_for_every_command() -> None:
    assert len(DAMAGES[::FOR_DOORS]) >= 300
    assert len(DAMAGES[::FOR_OTHERS]) >= 100


def _device(name: str) -> Callable[[Path], list[str]]:
    return lambda model: ["check", str(model), "--device", name]


@pytest.mark.parametrize(
    "name", ["foo", "cuda:99", "cuda:-1", "meta", "mps", "xla", "vulkan", "hpu", "privateuseone"]
)
def test_a_device_that_is_not_here_is_told(name: str, whole: Whole) -> None:
    model = whole.model("llama")
    for argv in (["check", str(model), "--device", name], ["sparsity", str(model), "--device", name]):
        answer = run(argv)
        assert answer.code == 2
        assert re.search("device", answer.err), answer.err
        require_sentence(answer, Damage("none", "llama", lambda _: None), model)
