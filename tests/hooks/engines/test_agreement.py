"""Engines are held against the native one, and a fault in how the native one computes rows is found by them."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
import tiny_families
import torch

import iclprobe.hooks.attention_sites as attention_sites
import iclprobe.hooks.rows as rows
from iclprobe.cli import main
from iclprobe.hooks.engines.agreement import engines_agree
from iclprobe.models.loading import load_model


def without_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault: the product of query and key is not scaled."""
    right = rows.score_rows
    monkeypatch.setattr(
        attention_sites, "score_rows", lambda *given, **options: right(*given, **{**options, "scaling": 1.0})
    )


def with_wider_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault: every row sees one key more on its left."""
    right = rows.visible_keys

    @functools.wraps(right)
    def wrong(*given: Any) -> Any:
        visible, bias = right(*given)
        one_more = torch.zeros_like(visible)
        one_more[..., :-1] = visible[..., 1:]
        return visible | one_more, bias

    monkeypatch.setattr(rows, "visible_keys", wrong)


FAULTS = {"llama": without_scaling, "mistral": with_wider_window, "gemma3_text": with_wider_window}


@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_the_engine_agrees_and_says_by_how_much(name: str) -> None:
    found = engines_agree(load_model(tiny_families.build(name)), ["transformer-lens"])
    (engine,) = found.engines
    assert found.held and found.compared == (engine,) and engine.version
    assert set(engine.deviations) == {"attention_output", "scores"}
    assert max(engine.deviations.values()) < 1e-5 and engine.tolerance == 1e-4
    assert found.lines()[0].startswith(f"agrees   transformer-lens {engine.version}  attention_output ")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_native_rows_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[name](monkeypatch)
    found = engines_agree(load_model(tiny_families.build(name)), ["transformer-lens"])
    (engine,) = found.engines
    assert not found.held and engine.deviations["scores"] > 0.1 and "DIFFERS" in engine.line()
    assert engine.deviations["attention_output"] < 1e-5
    assert math.isinf(engine.deviations["scores"]) is (FAULTS[name] is with_wider_window)


def test_an_engine_that_refuses_is_said_and_does_not_fail() -> None:
    found = engines_agree(load_model(tiny_families.build("gptj")), ["transformer-lens"])
    assert found.held and not found.compared
    assert found.lines()[0].startswith("refused  transformer-lens 4") and "softmax" in found.lines()[0]


def test_the_command_holds_all_engines_and_fails_when_one_differs(
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = str(tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("checked") / "model"))
    assert main(["check", place, "--engine", "all"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [["agrees", "transformer-lens"], ["agrees", "nnsight"]]
    without_scaling(monkeypatch)
    assert main(["check", place, "--engine", "all"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [["DIFFERS", "transformer-lens"], ["DIFFERS", "nnsight"]]


def test_the_command_fails_when_the_window_is_off_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_families.fresh("mistral").save_pretrained(tmp_path / "model")
    command = ["check", str(tmp_path / "model"), "--engine", "all", "--device", "cpu"]
    assert main(command) == 0
    with_wider_window(monkeypatch)
    assert main(command) == 1


def test_the_command_says_when_the_only_engine_asked_for_did_not_run(
    checkpoint: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclprobe.hooks.engines.packages.version", _missing)
    assert main(["check", str(checkpoint), "--engine", "transformer-lens"]) == 2
    said = capsys.readouterr()
    assert "pip install 'iclprobe[transformer-lens]'" in said.out and "no engine was held" in said.err


def _missing(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)
