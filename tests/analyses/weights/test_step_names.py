"""A number in a checkpoint's name is a training step only where the name says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from iclprobe.analyses.weights.checkpoints import Checkpoint, checkpoints_at, checkpoints_matching
from iclprobe.analyses.weights.step_names import step_of


def told(*places: str) -> list[tuple[str, int | None]]:
    return [(checkpoint.place, checkpoint.step) for checkpoint in checkpoints_at(places)]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("out/checkpoint-500", 500),
        ("out/checkpoint-500/", 500),
        ("out/checkpoint-500/model.safetensors", 500),
        ("out/checkpoint-500/pytorch_model.bin", 500),
        ("out/checkpoint-500/model-00001-of-00003.safetensors", 500),
        ("out/checkpoint-500/model.safetensors.index.json", 500),
        ("out/checkpoint-500/adapter_model.safetensors", 500),
        ("run/step_2000/consolidated.00.pth", 2000),
        ("run/step-00001000/lit_model.pth", 1000),
        ("run/step_2000.safetensors", 2000),
        ("run/global_step300", 300),
        ("run/epoch=3-step=1200.ckpt", 1200),
        ("run/iter_0005000", 5000),
        ("run/step-000064", 64),
        ("EleutherAI/pythia-160m@step143000", 143000),
        ("allenai/OLMo-7B@step1000-tokens4B", 1000),
        ("org/model@step-001000-2BT", 1000),
        ("allenai/OLMo-2-7B@stage1-step928646-tokens3896B", 928646),
        ("org/small-1.1B-step-50K-105b", 50_000),
        ("org/small-1.1B-intermediate-step-1431k-3T", 1_431_000),
        ("org/model@step-2.5M", 2_500_000),
        ("org/small-step-50K@main", 50_000),
        ("pocket@1024", 1024),
        # No steps: sizes, versions, epochs, tokens, dates, parts of words.
        ("my-qwen3", None),
        ("run-v2-best", None),
        ("org/llama-3.1-8B", None),
        ("org/step-7b", None),
        ("org/model@step-1.5", None),
        ("out/epoch_3", None),
        ("out/checkpoint_1_5000.pt", None),
        ("out/checkpoint-2024-01-05", None),
        ("org/footstep12", None),
        ("org/model@tokens4B", None),
        ("org/model@main", None),
        ("org/dpo-iter3", None),
        ("out/500", None),
        ("out/step100/best.safetensors", None),
        ("out/run7/model.safetensors", None),
        ("model.safetensors", None),
    ],
)
def test_a_step_is_read_only_where_the_name_says_so(name: str, step: int | None) -> None:
    assert told(name) == [(name, step)]


def test_a_file_is_called_after_its_folder_where_every_checkpoints_file_has_its_name() -> None:
    labels = [
        one.label for one in checkpoints_at(["out/base/model.safetensors", "out/tuned/model.safetensors"])
    ]
    assert labels == ["base", "tuned"]
    assert checkpoints_at(["out/tuned.safetensors"])[0].label == "tuned.safetensors"


def test_checkpoints_of_one_run_come_in_the_order_of_their_steps_and_the_final_one_last() -> None:
    assert told("g/checkpoint-final", "g/checkpoint-10", "g/checkpoint-2") == [
        ("g/checkpoint-2", 2),
        ("g/checkpoint-10", 10),
        ("g/checkpoint-final", None),
    ]
    assert told("a/b@step10", "a/b@step2", "a/b@final") == [
        ("a/b@step2", 2),
        ("a/b@step10", 10),
        ("a/b@final", None),
    ]
    assert told("pocket@1280", "pocket@608") == [("pocket@608", 608), ("pocket@1280", 1280)]
    finals = [f"g/checkpoint-{name}/model.safetensors" for name in ("last", "9", "10")]
    assert [step for _, step in told(*finals)] == [9, 10, None]


def test_names_without_steps_keep_their_order() -> None:
    for names in (
        ["my-qwen3", "out-my-qwen3/other"],
        ["run-v2-best", "qwen3-tuned", "a1"],
        ["c/final", "c/first"],
        ["b/checkpoint-final", "a/checkpoint-last"],
    ):
        assert told(*names) == [(name, None) for name in names]


def test_a_mixed_list_keeps_its_order_and_only_the_steps_that_are_told() -> None:
    assert told("my-qwen3", "out/checkpoint-500") == [("my-qwen3", None), ("out/checkpoint-500", 500)]
    assert told("g/checkpoint-10", "base-v2", "g/checkpoint-20") == [
        ("g/checkpoint-10", 10),
        ("base-v2", None),
        ("g/checkpoint-20", 20),
    ]


def test_steps_that_count_from_different_starts_are_no_steps_of_one_series() -> None:
    for names in (
        ["sft/checkpoint-2000", "dpo/checkpoint-300"],
        ["sft-step2000", "dpo-step300"],
        ["a/checkpoint-500", "b/checkpoint-500"],
        ["org/m@stage1-step1000-tokens4B", "org/m@stage2-ingredient1-step2000-tokens8B"],
    ):
        assert told(*names) == [(name, None) for name in names]
    resumed = ["monday/checkpoint-500", "tuesday/checkpoint-1000"]
    assert told(*resumed) == list(zip(resumed, (500, 1000), strict=True))


def test_a_glob_is_in_the_order_of_training(tmp_path: Path) -> None:
    def matching(pattern: str) -> list[tuple[str, int | None]]:
        return [
            (Path(one.model).relative_to(tmp_path).as_posix(), one.step)
            for one in checkpoints_matching(str(tmp_path / pattern))
        ]

    for name in ("checkpoint-2", "checkpoint-10", "checkpoint-final", "checkpoint-1000"):
        (tmp_path / "g" / name).mkdir(parents=True)
        (tmp_path / "g" / name / "model.safetensors").touch()
    numbers = [2, 10, 1000, None]
    assert matching("g/checkpoint-*") == [(f"g/checkpoint-{n or 'final'}", n) for n in numbers]
    assert [step for _, step in matching("g/*/model.safetensors")] == numbers
    for name in ("v10", "v2", "v2-final"):
        (tmp_path / "h" / name).mkdir(parents=True)
    assert matching("h/*") == [("h/v2", None), ("h/v10", None), ("h/v2-final", None)]
    (tmp_path / "i" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "i" / "start").mkdir()
    assert matching("i/*") == [("i/start", None), ("i/checkpoint-5", 5)]
    assert [name for name, _ in matching("[gi]/checkpoint-*")][-1] == "i/checkpoint-5"


def test_checkpoints_that_are_given_whole_stay_as_they_are() -> None:
    assert checkpoints_at(["a/b@main"]) == (Checkpoint("a/b", "main"),)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("warmup_steps-100-step-5000", 5000),
        ("total-steps-5000-checkpoint-100", 100),
        ("max_steps100-final", None),
        ("grad-accum-steps8-run", None),
        ("step-1_000", None),
        ("step1,000", None),
        ("step-1000_2", 1000),
    ],
)
def test_steps_of_other_things_are_no_steps(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "user@host" / "checkpoint-5"
    folder.mkdir(parents=True)
    (found,) = checkpoints_at([str(folder)])
    assert (found.model, found.revision, found.step) == (str(folder), None, 5)
