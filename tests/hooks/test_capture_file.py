"""Captures on disk: whole or not at all, and the same numbers as in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from expected_rows import SITES, prompt_set
from safetensors import safe_open
from safetensors.torch import save_file

import iclprobe.hooks.storage
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.captured import Capture
from iclprobe.hooks.plan import CapturePlan

MODEL: Any = tiny_families.build("llama")
PROMPTS = prompt_set("llama", labels=True)
PLAN = CapturePlan(sites=SITES, positions="all")


def assert_same(one: Capture, other: Capture) -> None:
    assert one.layers == other.layers
    assert one.manifest == other.manifest
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        assert array.dtype == other.arrays()[name].dtype
        assert torch.equal(array, other.arrays()[name]), name


def test_saving_and_loading_returns_the_same(tmp_path: Path) -> None:
    path = tmp_path / "capture.safetensors"
    for plan in (PLAN, CapturePlan()):
        got = capture(MODEL, PROMPTS, plan)
        got.save(path)
        loaded = Capture.load(path)
        assert loaded.manifest["positions"] == plan.positions
        assert_same(loaded, got)
    assert list(tmp_path.iterdir()) == [path]


def test_a_capture_in_a_file_is_the_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "capture.safetensors"
    got: Any = capture(MODEL, PROMPTS, PLAN, file=path, batch_size=1)
    want = capture(MODEL, PROMPTS, PLAN, batch_size=1)
    assert_same(got, want)
    assert list(tmp_path.iterdir()) == [path]
    with safe_open(str(path), framework="pt") as file:
        assert set(file.keys()) == {*want.arrays(), "prediction"}
        assert torch.equal(file.get_tensor("scores"), want.scores)  # type: ignore[arg-type]
        assert torch.equal(file.get_tensor("prediction"), want.prediction)  # type: ignore[arg-type]
        assert file.get_tensor("columns").dtype == torch.bool
    assert_same(Capture.load(path), want)


def no_hooks() -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in MODEL.modules())


def test_an_interrupted_capture_leaves_nothing(tmp_path: Path) -> None:
    calls = []

    def interrupt(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = MODEL.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            capture(MODEL, PROMPTS, file=tmp_path / "capture.safetensors", batch_size=1)
    finally:
        handle.remove()
    assert list(tmp_path.iterdir()) == []
    assert no_hooks()


def test_a_full_disk_leaves_nothing_not_even_a_tap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(iclprobe.hooks.storage, "reserve", full)
    with pytest.raises(UserError, match="the disk is full") as caught:
        capture(MODEL, PROMPTS, file=tmp_path / "capture.safetensors", batch_size=1)
    assert no_hooks(), caught
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_capture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(UserError, match=r"other\.safetensors is no capture"):
        Capture.load(path)
    path.write_bytes(b"half of a fi")
    with pytest.raises(UserError, match="is no capture"):
        Capture.load(path)


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({"columns": (2, 3)}, {}),
        ({"columns": (2, 3)}, {"layers": "[0", "manifest": "{}"}),
        ({"columns": (2, 3)}, {"layers": "7", "manifest": "{}"}),
        ({"columns": (2, 3), "scores": (1, 1, 4, 3)}, {"layers": "[0]", "manifest": "{}"}),
        ({"columns": (2, 3), "weights": (2,)}, {"layers": "[0]", "manifest": "{}"}),
        ({"scores": (1, 1, 4, 3)}, {"layers": "[0]", "manifest": "{}"}),
    ],
)
def test_a_file_of_other_arrays_is_refused_by_name(
    tmp_path: Path, arrays: dict[str, tuple[int, ...]], header: dict[str, str]
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: torch.ones(shape) for name, shape in arrays.items()}, path, metadata=header)
    with pytest.raises(UserError, match=r"other\.safetensors is no capture"):
        Capture.load(path)


def test_selecting_prompts() -> None:
    got: Any = capture(MODEL, PROMPTS, PLAN)
    some: Any = got.select(torch.tensor([2, 0]))
    assert some.n == 2
    assert torch.equal(some.scores[0], got.scores[2])
    assert some.manifest == got.manifest


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    columns = torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 prompts"):
        Capture((0,), columns, attention_output=torch.zeros(3, 1, 4))
    with pytest.raises(ValueError, match="5 columns"):
        Capture((0,), columns, scores=torch.zeros(2, 1, 2, 4))
    with pytest.raises(ValueError, match="1 layers"):
        Capture((0,), columns, residual=torch.zeros(2, 2, 4))
