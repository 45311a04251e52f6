"""Several models that somebody else finetuned: each is what it is alone, and what cannot be compared is refused."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
import yaml
from made_runs import drawn_change, write_adapter_run, write_full, write_full_run
from model_snapshot import assert_as_it_was, snapshot
from tiny_checkpoint import TEMPLATE, write_checkpoint

import iclprobe
from iclprobe import CompareConfig, LanguageModel, UserError
from iclprobe.analyses.comparison.cells import cells_of
from iclprobe.analyses.comparison.finetuned_models import finetuned_models
from iclprobe.cli import main
from iclprobe.models.delta import Delta
from iclprobe.settings import make_config

pytest.importorskip("peft", reason="adapters need the peft extra")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LanguageModel:
    return iclprobe.load_model(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def full(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_full_run(tmp_path_factory.mktemp("full") / "sft", checkpoint)


@pytest.fixture(scope="module")
def adapters(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter_run(tmp_path_factory.mktemp("adapters") / "sft", checkpoint)


def settings(records: Path) -> dict[str, Any]:
    return {
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "batch_size": 4,
        "limit": 6,
        "null_draws": 2,
        "resamples": 20,
        "keep_maps": 0,
    }


def names(finetuned: Any, **options: Any) -> list[str]:
    return list(finetuned_models(make_config(CompareConfig, {"finetuned": finetuned, **options}, "here")))


def test_every_finetuned_model_is_what_it_is_alone(
    model: LanguageModel, records: Path, full: Path, adapters: Path
) -> None:
    places = [full / "checkpoint-200", adapters / "checkpoint-100", adapters]
    before = snapshot(model.module)
    several = iclprobe.compare(model=model, finetuned=places, shots=(2, 4), seeds=(0, 1), **settings(records))
    assert_as_it_was(model.module, before)
    called = ["checkpoint-200", "checkpoint-100", "sft"]
    assert several.cells == tuple((name, shots) for shots in (2, 4) for name in called)
    assert len(several.tables["series"]) == 0
    for name, place in zip(called, places, strict=True):
        # A trainer's folder alone would be its series.
        alone = iclprobe.compare(
            model=model,
            finetuned=place,
            shots=4,
            seeds=(0, 1),
            **settings(records),
        )
        alone = alone["final", 4] if place == adapters else alone
        together = several[name, 4]
        for table, frame in alone.tables.items():
            own = [column for column in frame.columns if column != "recipe"]
            assert frame[own].equals(together.tables[table][own]), (name, table)
        assert together.config.finetuned[0].model == str(place)
    assert len(several.tables["over_draws"]["recipe"].unique()) == 3
    assert "checkpoint-100, 4 shots" in several.table()


def test_pretrained_settings_run_once_and_one_finetuned_model_is_there_at_a_time(
    model: LanguageModel,
    records: Path,
    full: Path,
    adapters: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: Counter[tuple[Any, ...]] = Counter()
    made: WeakSet[Delta] = WeakSet()
    there: list[int] = []
    begin = Delta.__post_init__

    def noted(delta: Delta) -> None:
        begin(delta)
        made.add(delta)
        there.append(len(made))

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        # What is copied for an adapter has the hook too.
        if module is model.module.base_model:
            seen[tuple(map(tuple, kwargs["input_ids"].tolist()))] += 1

    monkeypatch.setattr(Delta, "__post_init__", noted)
    handle = model.module.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        iclprobe.compare(model=model, finetuned=full / "checkpoint-100", shots=2, **settings(records))
        one = Counter(seen)
        seen.clear()
        iclprobe.compare(
            model=model,
            finetuned=[full / "checkpoint-100", full / "checkpoint-200", adapters / "checkpoint-200"],
            shots=2,
            **settings(records),
        )
    finally:
        handle.remove()
    # The queries ran twice more, for two more finetuned models, and nothing else ran again.
    assert seen.keys() == one.keys()
    # Their labels are behind them, token by token.
    more = {batch: times for batch, times in (seen - one).items() if len(batch[0]) > 1}
    assert set(more.values()) == {2} and sum(map(len, more)) == 6
    assert there == [1] * 4


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert names("a/b") == ["b"]
    assert names("a/b,c/b,d") == ["a/b", "c/b", "d"]
    assert names("a/x/b,c/x/b,d") == ["a/x/b", "c/x/b", "d"]
    assert names("org/m@step10,org/m@step2") == ["m@step2", "m@step10"]
    assert names("org/m", steps="10,2", revision_template="step-{step}") == ["m@step-2", "m@step-10"]
    assert names("https://user:secret@host/a/b?token=1,c") == ["b", "c"]


def test_a_name_with_a_comma_is_one_path(full: Path, tmp_path: Path) -> None:
    place = tmp_path / "lr=1,steps=2"
    shutil.copytree(full / "checkpoint-100", place)
    assert names(str(place)) == ["lr=1,steps=2"]
    assert names(f"{place},{full / 'checkpoint-200'}") == ["lr=1,steps=2", "checkpoint-200"]


def test_a_run_directory_names_every_checkpoint_and_runs_again(
    checkpoint: Path, records: Path, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**settings(records), "model": str(checkpoint), "device": "cpu", "shots": 2}
    first = iclprobe.compare(finetuned=str(adapters), out=tmp_path / "run", **options)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert [entry["step"] for entry in config["finetuned"]] == [100, 200, 1000, None]
    config.pop("analysis")
    again = iclprobe.compare(CompareConfig(**config))
    loaded = iclprobe.load_study(tmp_path / "run")
    for name, frame in first.tables.items():
        assert frame.equals(again.tables[name]) and frame.equals(loaded.tables[name]), name
    assert loaded.table() == first.table()
    assert repr(loaded.findings) == repr(first.findings)
    assert (tmp_path / "run" / "series.png").exists() and not (tmp_path / "run" / "grid.png").exists()
    assert main(["show", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "table.txt").read_text() in capsys.readouterr().out
    assert main(["show", "--json", str(tmp_path / "run")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["tables"]["series"]) == len(first.tables["series"]) == 4 * 5
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"analysis": "compare", "finetuned": str(adapters)}))
    assert main(["validate", str(file)]) == 0
    file.write_text(yaml.safe_dump({"analysis": "compare", "finetuned": str(tmp_path)}))
    assert main(["validate", str(file)]) == 2


def empty(folder: Path, checkpoint: Path) -> None:
    folder.mkdir()


def other_architecture(folder: Path, checkpoint: Path) -> None:
    write_checkpoint(folder / "checkpoint-100", layers=2)
    write_full(folder / "checkpoint-50", checkpoint, drawn_change(iclprobe.load_model(checkpoint).module, 1))


def adapter_of_another_base(folder: Path, checkpoint: Path) -> None:
    write_adapter_run(folder, write_checkpoint(folder.parent / "deeper", layers=4))


def missing_shard(folder: Path, checkpoint: Path) -> None:
    change = drawn_change(iclprobe.load_model(checkpoint).module, 1)
    for step in (100, 200):
        write_full(folder / f"checkpoint-{step}", checkpoint, change, max_shard_size="20KB")
    sorted((folder / "checkpoint-200").glob("*.safetensors"))[1].unlink()


def without_weights(folder: Path, checkpoint: Path) -> None:
    write_full_run(folder, checkpoint)
    (folder / "checkpoint-1000" / "model.safetensors").unlink()


def one_step_twice(folder: Path, checkpoint: Path) -> None:
    write_full_run(folder, checkpoint)
    shutil.copytree(folder / "checkpoint-200", folder / "checkpoint-0200")


def no_step(folder: Path, checkpoint: Path) -> None:
    write_full_run(folder, checkpoint)
    shutil.copytree(folder / "checkpoint-200", folder / "checkpoint-best")


def unchanged(folder: Path, checkpoint: Path) -> None:
    write_full(folder, checkpoint, {})


def adapter_without_weights(folder: Path, checkpoint: Path) -> None:
    write_adapter_run(folder, checkpoint)
    (folder / "checkpoint-200" / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("made", "named", "early"),
    [
        (empty, "holds no finetuned model: there is neither", True),
        (other_architecture, "checkpoint-100.* is not of the architecture of", True),
        (adapter_of_another_base, r"layers\.3\.self_attn.* fit nothing in this", True),
        (missing_shard, "lacks the shard model-00002", True),
        (without_weights, "holds no weights", True),
        (one_step_twice, "are both step 200 of one training run", True),
        (no_step, "checkpoint-best.* is no step of one training run", True),
        (adapter_without_weights, "checkpoint-200' holds no weights", True),
        (unchanged, "unchanged.* has the same weights as", False),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    made: Callable[[Path, Path], None],
    named: str,
    early: bool,
    model: LanguageModel,
    checkpoint: Path,
    records: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / made.__name__
    made(folder, checkpoint)
    forwards: list[int] = []
    handle = model.module.register_forward_pre_hook(lambda *_: forwards.append(1))
    try:
        with pytest.raises(UserError, match=named):
            iclprobe.compare(model=model, finetuned=str(folder), shots=2, **settings(records))
    finally:
        handle.remove()
    assert not early or not forwards
    own = ["--task", "tone", "--template", TEMPLATE, "--label-words", "bad,good", "--shots", "2"]
    command = ["compare", "--model", str(checkpoint), "--data", str(records), *own, "--limit", "3"]
    assert main([*command, "--finetuned", str(folder), "--out", str(tmp_path / "run")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iclprobe: ")]
    assert len(said) == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("finetuned", "options", "named"),
    [
        ("{run}/checkpoint-100,{run}/checkpoint-100", {}, "checkpoint-100' is named twice"),
        ("a/b,c,a/b", {}, "'a/b' is named twice"),
        ("{run},a/b", {}, "stands for several checkpoints"),
        ("{run}/nothing-*", {}, "no path matches"),
        ("{run}/*/model.safetensors", {}, "is a file"),
        ("{run}/checkpoint-7", {}, "there is no "),
        (" , ", {}, "it names no model"),
        ("a/b,c", {"steps": "1,2"}, "steps .* are revisions of one repository"),
        (None, {"steps": "1,2"}, "steps .* are revisions of one repository"),
        ("a/b", {"revision_template": "step{step}"}, "give steps"),
        ("pocket", {"steps": "3,4"}, "There is no step 3 of the pocket model"),
    ],
)
def test_what_names_no_models_is_refused_by_name(
    finetuned: str | None,
    options: dict[str, Any],
    named: str,
    model: LanguageModel,
    records: Path,
    full: Path,
) -> None:
    given = None if finetuned is None else finetuned.replace("{run}", str(full))
    with pytest.raises(UserError, match=named):
        iclprobe.compare(model=model, finetuned=given, shots=2, **options, **settings(records))


def test_an_adapter_of_a_base_of_another_name_is_told(
    checkpoint: Path, records: Path, adapters: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(checkpoint, renamed)
    made = iclprobe.compare(
        model=str(renamed), finetuned=adapters / "checkpoint-100", shots=2, **settings(records)
    )
    assert any("was made from" in finding.sentence for finding in made.findings if finding.kind == "warning")
    same = iclprobe.compare(
        model=str(checkpoint), finetuned=adapters / "checkpoint-100", shots=2, **settings(records)
    )
    assert not any("was made from" in finding.sentence for finding in same.findings)


def test_revisions_of_one_repository_are_a_series(records: Path) -> None:
    made = iclprobe.compare(
        model="pocket", revision="362", finetuned="pocket", steps=(608, 512), shots=2, **settings(records)
    )
    assert made.cells == (("pocket@512", 2), ("pocket@608", 2))
    assert list(made.tables["series"].drop_duplicates("place")["step"]) == [512, 608]
    assert list(cells_of(made.config)) == list(made.cells)
    alone = iclprobe.compare(
        model="pocket", revision="362", finetuned="pocket@512", shots=2, **settings(records)
    )
    assert alone["SimAOU"] == made["pocket@512", 2]["SimAOU"]
    assert torch.isfinite(torch.tensor(alone["SimAOU"]))
