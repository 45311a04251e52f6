"""Every public result can be pickled and copied, and says the same afterwards."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from made_draws import made_draw
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe.analyses.papers.catalogue import find_experiments
from iclprobe.models.recipe import preset
from iclprobe.sweeps.experiments import reproduce_all
from iclprobe.tasks.catalogue import task_entry
from iclprobe.tasks.demonstrations import choose_queries

# Public classes that are not copied here, and why.
NO_RESULTS = {
    "Analysis": "it is a declaration, of which there is one",
    "Context": "it holds the live model of a run",
    "NNsightEngine": "it runs models, and holds no result",
    "LanguageModel": "it is a live model, of which pickle keeps every weight as torch does; no result holds one",
    "ProjectionFile": "it is open files, which cannot be pickled",
    "RepeatedQueries": "it asks the live model that it holds",
    "UserError": "it is an error, whose copies tests/test_errors.py holds",
}
# What functions return besides: handles, pieces of what is here, and nothing.
NO_RESULTS_OF_FUNCTIONS = {
    *(
        "Analysis",
        "LanguageModel",
        "ProjectionFile",
        "Iterator[AttentionProjection]",
        "Iterator[Recorder]",
        "Iterator[None]",
        "None",
    ),
    *("Recipe", "Generator[tuple[Tensor, Capture], None, None]"),
    *("Generator[tuple[Tensor, NextToken], None, None]", "Iterator[tuple[Tensor, NextToken]]"),
    *(
        "tuple[FamilyOutcome, ...]",
        "tuple[Record, ...]",
        "tuple[int, ...]",
        "list[Record]",
        "dict[str, DataFrame]",
    ),
}
CONFIGURATIONS = [name for name in iclprobe.__all__ if name.endswith("Config")]
SMALL: dict[str, Any] = {"shots": 2, "limit": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def made(checkpoint: Path, records: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Make the result of a name, each once."""
    model = iclprobe.load_model(checkpoint, device="cpu")
    task = iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))
    subject: dict[str, Any] = {"model": model, "task": task, **SMALL}
    comparing: dict[str, Any] = {**subject, "learning_rate": 0.5, "null_draws": 2, "resamples": 20}
    arms: dict[str, Any] = {
        **subject,
        "seeds": (0,),
        "arms": ("shen",),
        "learning_rates": 0.05,
        "epochs": 1,
        "evaluation_epochs": 1,
    }
    figure, *_ = find_experiments("shen2024", "fig2")
    here = {"model": str(checkpoint), "revision": None}

    sweeping: dict[str, Any] = {
        "analysis": "sparsity",
        "fixed": {"model": str(checkpoint), "stable_rank": False},
        "axes": {"matrices": ["q", "k"]},
    }

    @cache
    def prompts() -> iclprobe.TaskPrompts:
        chosen = [task.validation[index] for index in choose_queries(task, 4)]
        shown = iclprobe.draw_demonstrations(task, 2, 0)
        return iclprobe.build_prompts(model.require_tokenizer(), task.template, shown, chosen, 128)

    def finetuning() -> iclprobe.Finetuning:
        return iclprobe.finetune(model, prompts().training, preset("dai"), learning_rate=0.1, seed=0)

    makers: dict[str, Callable[[], Any]] = {
        **{name: getattr(iclprobe, name) for name in (*CONFIGURATIONS, "CapturePlan", "Recipe")},
        "AttentionProjection": lambda: next(iter(iclprobe.attention_projections(checkpoint))),
        "Column": lambda: iclprobe.Column("sure", "number", "how sure"),
        "Finding": lambda: iclprobe.Finding("sure", "It is sure.", value=0.5, where={"layer": 1}),
        "Measured": lambda: iclprobe.Measured(iclprobe.GradientsConfig(), {"norms": [{"norm": 1.0}]}),
        "Table": lambda: iclprobe.Table(
            "answers", "one answer", (iclprobe.Column("sure", "number", "how sure"),)
        ),
        "Capture": lambda: iclprobe.capture(model, prompts().icl),
        "Comparison": lambda: iclprobe.compare(**comparing),
        "Controls": lambda: iclprobe.controls(**comparing, controls=("none", "permuted_labels")),
        "Delta": lambda: finetuning().delta,
        "Family": lambda: model.family,
        "FamilyOutcome": lambda: iclprobe.FamilyOutcome("rwkv", "refused", "it has no attention"),
        "Finetuning": finetuning,
        "Study": lambda: iclprobe.gradients(
            **{name: value for name, value in subject.items() if name != "limit"},
            recipes=("dai",),
            learning_rate=0.05,
        ),
        "Index": lambda: reproduce_all(
            [figure], tmp_path_factory.mktemp("all"), overrides=here, with_claims=False, workers=1
        ),
        "DryRun": lambda: iclprobe.dry_run(None, tmp_path_factory.mktemp("dry"), **sweeping),
        "SweepConfig": lambda: iclprobe.SweepConfig(**sweeping),
        "SweepResult": lambda: iclprobe.sweep(out=tmp_path_factory.mktemp("sweep"), **sweeping),
        "NextToken": lambda: next(iter(iclprobe.stream_next_token(model, prompts().icl)))[1],
        "OutputsStudy": lambda: iclprobe.outputs(**arms),
        "PromptSet": lambda: prompts().icl,
        "Span": lambda: prompts().icl.spans(0)[1],
        "PromptView": lambda: iclprobe.show_prompt(model=model, task=task, shots=2),
        "Record": lambda: task.train[0],
        "Reproduction": lambda: iclprobe.reproduce(figure, overrides=here),
        "EnginesAgreement": lambda: iclprobe.engines_agree(model, ["native"]),
        "SelfCheck": lambda: iclprobe.self_check(model),
        "Task": lambda: task,
        "TaskEntry": lambda: task_entry("sst2"),
        "TaskPrompts": prompts,
        "Template": lambda: task.template,
    }
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            made[name] = makers[name]()
        return made[name]

    return make


RESULTS = sorted(
    {name for name in iclprobe.__all__ if inspect.isclass(getattr(iclprobe, name))} - {*NO_RESULTS}
    | {"Index", "Controls"}
)
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickled(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
WHOLE_COPIES = COPIES["pickle"], COPIES["deepcopy"]


class _NoModel(pickle.Pickler):
    """Refuses what would put gigabytes of weights into a result unasked."""

    def reducer_override(self, obj: Any) -> Any:
        assert not isinstance(obj, torch.nn.Module | iclprobe.LanguageModel), type(obj)
        return NotImplemented


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    _NoModel(file).dump(value)
    return file.getvalue()


def same(one: Any, other: Any) -> bool:
    """Compare two results through and through, tensors bit by bit, NaN being NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, pandas.DataFrame):
        return one.equals(other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return one == other or (isinstance(one, float) and one != one and other != other)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_the_same_after_a_copy(name: str, how: str, made: Callable[[str], Any]) -> None:
    result = made(name)
    assert type(result).__name__ == name
    again = COPIES[how](result)
    assert again is not result
    assert same(again, result)
    if how != "pickle":
        return
    for told in ("table", "to_pandas", "results"):
        if hasattr(result, told):
            assert str(getattr(again, told)()) == str(getattr(result, told)())
    if hasattr(result, "plot"):
        lines = [
            [line.get_xydata().tolist() for axes in one.plot().axes for line in axes.lines]  # type: ignore[union-attr]
            for one in (result, again)
        ]
        assert str(lines[0]) == str(lines[1])


def test_whatever_a_public_function_returns_is_copied_above() -> None:
    functions = [getattr(iclprobe, name) for name in iclprobe.__all__]
    returned = {
        str(inspect.signature(function).return_annotation)
        for function in functions
        if inspect.isfunction(function)
    }
    assert returned - NO_RESULTS_OF_FUNCTIONS <= set(RESULTS)


def test_a_delta_that_was_copied_acts_on_a_model_and_shares_no_memory(
    made: Callable[[str], Any], checkpoint: Path
) -> None:
    delta, model = made("Delta"), iclprobe.load_model(checkpoint, device="cpu")
    for way in WHOLE_COPIES:
        again = way(delta)
        with again.applied(model):
            held = dict(model.module.named_parameters())
            assert all(torch.equal(held[name], tensor) for name, tensor in delta.tensors.items())
        assert all(again.tensors[name].data_ptr() != one.data_ptr() for name, one in delta.tensors.items())
        with pytest.raises(TypeError):
            again.tensors["x"] = torch.zeros(1)


def test_a_copied_capture_has_tensors_of_its_own(made: Callable[[str], Any]) -> None:
    capture = made("Capture")
    copied = copy.deepcopy(capture)
    before = capture.attention_output.clone()
    copied.attention_output.zero_()
    assert torch.equal(capture.attention_output, before) and before.any()


def test_a_draw_of_somebody_elses_finetuning_is_copied_too() -> None:
    draw = made_draw(somebody_elses=True)
    for way in COPIES.values():
        assert same(way(draw), draw)
