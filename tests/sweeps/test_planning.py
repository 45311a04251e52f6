"""A cell's id is what determines its numbers, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_analysis
import tiny_checkpoint

from iclprobe.errors import UserError
from iclprobe.study import analysis as registry
from iclprobe.study.sweep_folder import SweepFolder, read_sweep, write_sweep
from iclprobe.sweeps import sources as hashing
from iclprobe.sweeps.config import SweepConfig
from iclprobe.sweeps.planning import cell_configuration, plan_sweep
from iclprobe.sweeps.sources import Sources

NOWHERE = Path("nowhere")


def plan(analysis: str, axes: dict[str, Any] | None = None, **fixed: Any) -> SweepFolder:
    return plan_sweep(SweepConfig(analysis=analysis, axes=axes or {}, fixed=fixed), NOWHERE)


def the_id(analysis: str, **fixed: Any) -> str:
    (cell,) = plan(analysis, **fixed).cells
    return cell.id


@pytest.fixture
def own(checkpoint: Path, records: Path, tmp_path: Path) -> dict[str, Any]:
    """A comparison on a model and records of one's own, which may be changed."""
    return {
        "model": str(shutil.copytree(checkpoint, tmp_path / "model")),
        "data": str(shutil.copytree(records, tmp_path / "records")),
        "template": tiny_checkpoint.TEMPLATE,
        "label_words": ["bad", "good"],
        "task": "tone",
    }


def turn_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def weights(own: dict[str, Any]) -> None:
    turn_a_byte(next(Path(own["model"]).glob("*.safetensors")))


def tokenizer(own: dict[str, Any]) -> None:
    turn_a_byte(Path(own["model"]) / "tokenizer.json")


def data(own: dict[str, Any]) -> None:
    file = next(path for path in sorted(Path(own["data"]).iterdir()) if path.is_file())
    file.write_text(file.read_text().replace("good", "fine", 1) + " ")


@pytest.mark.parametrize("change", [weights, tokenizer, data])
def test_an_id_changes_with_the_bytes_of_what_is_named(
    change: Callable[[dict[str, Any]], None], own: dict[str, Any]
) -> None:
    before = the_id("compare", **own)
    assert before == the_id("compare", **own)
    change(own)
    assert the_id("compare", **own) != before


@pytest.mark.parametrize(
    "fields",
    [
        {"shots": 4},
        {"seeds": [1]},
        {"seeds": [0, 1]},
        {"limit": 7},
        {"recipes": "barnatan_lcft"},
        {"learning_rate": 0.5},
        {"dtype": "float64"},
        {"template": "{sentence} is {label}"},
        {"label_words": ["good", "bad"]},
        {"separator": " | "},
        {"order": 1},
        {"scoring": "sum"},
        {"keep_rows": 1},
        {"resamples": 60},
        {"task": "other"},
    ],
)
def test_an_id_changes_with_what_is_asked(fields: dict[str, Any], own: dict[str, Any]) -> None:
    assert the_id("compare", **{**own, **fields}) != the_id("compare", **own)


def test_an_id_changes_with_the_analysis_and_its_version(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numbers.txt").write_text("numbers")
    before = the_id("tiny", file=str(tmp_path / "numbers.txt"))
    monkeypatch.setitem(registry._REGISTERED, "tiny", replace(tiny_analysis.TINY, version=2))
    assert the_id("tiny", file=str(tmp_path / "numbers.txt")) != before
    assert the_id("compare", **own).startswith("compare-") and the_id("controls", **own).startswith(
        "controls-"
    )


def test_an_id_does_not_change_with_the_place_the_device_or_the_batch_size(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = the_id("compare", **own)
    assert the_id("compare", **own, device="cpu", batch_size=3) == before
    moved = {name: str(shutil.move(own[name], tmp_path / f"moved-{name}")) for name in ("model", "data")}
    assert the_id("compare", **{**own, **moved}) == before
    monkeypatch.chdir(tmp_path)
    assert the_id("compare", **{**own, "model": "moved-model", "data": "./moved-data"}) == before
    # What a trainer leaves, and what is hidden, is not the model.
    (tmp_path / "moved-model" / "optimizer.pt").write_bytes(b"much")
    (tmp_path / "moved-model" / ".cache").mkdir()
    (tmp_path / "moved-model" / ".cache" / "a").write_text("a")
    assert the_id("compare", **{**own, **moved}) == before
    assert the_id("compare", **{**own, **moved}, revision="main") == the_id(
        "compare", **{**own, "model": "moved-model", "data": "moved-data"}, revision="main"
    )


def test_an_id_of_a_pattern_is_that_of_its_files(records: Path, own: dict[str, Any], tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    for place in ("here", "there"):
        folder = tmp_path / place / "deep"
        folder.mkdir(parents=True)
        for part in ("a", "b"):
            (folder / f"{part}.txt").write_text(f"the {part} numbers")
        given[place] = the_id("tiny", file=str(tmp_path / place / "*" / "*.txt"))
    assert given["here"] == given["there"]
    (tmp_path / "there" / "deep" / "b.txt").write_text("other numbers")
    changed = the_id("tiny", file=str(tmp_path / "there" / "*" / "*.txt"))
    (tmp_path / "there" / "deep" / "c.txt").write_text("more numbers")
    assert len({given["here"], changed, the_id("tiny", file=str(tmp_path / "there" / "*" / "*.txt"))}) == 3


def test_an_id_changes_with_the_commit_that_a_revision_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = {("somebody/model", None): "a" * 40, ("somebody/model", "main"): "b" * 40}
    asked = []

    def commit(repo: str, revision: str | None) -> str | None:
        asked.append((repo, revision))
        return commits.get((repo, revision))

    monkeypatch.setattr(hashing, "_commit_on_hub", commit)
    before = [the_id("sparsity", model="somebody/model", revision=at) for at in (None, "main")]
    series = the_id("drift", checkpoints=["somebody/model", "somebody/model@main"])
    assert len(set(before)) == 2
    commits["somebody/model", "main"] = "c" * 40
    assert the_id("sparsity", model="somebody/model", revision="main") != before[1]
    assert the_id("sparsity", model="somebody/model") == before[0]
    assert the_id("drift", checkpoints=["somebody/model", "somebody/model@main"]) != series
    assert the_id("sparsity", model="pocket", revision="0") != the_id(
        "sparsity", model="pocket", revision="256"
    )
    assert {repo for repo, _ in asked} == {"somebody/model"}


def test_a_file_is_hashed_once(tmp_path: Path, own: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = hashing.hashlib.file_digest
    monkeypatch.setattr(
        hashing.hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind)
    )
    sources = Sources()
    axes: dict[str, Any] = {"shots": [2, 4], "seeds": [0, 1, 2]}
    config = SweepConfig(analysis="compare", axes=axes, fixed=own)
    plan_sweep(config, NOWHERE, sources)
    assert len(read) == len(set(read)) > 2
    plan_sweep(config, NOWHERE, Sources(dict(sources.files)))
    assert len(read) == len(set(read))


def test_a_planned_cell_is_asked_as_it_was(own: dict[str, Any], tmp_path: Path) -> None:
    from iclprobe.sweeps.grid import grid_cells

    asked = SweepConfig(
        analysis="compare",
        axes={"shots": [[2, 4], 8], "recipes": [["dai", "barnatan_lcft"], {"preset": "dai", "name": "own"}]},
        fixed={**own, "plan": {"layers": [0]}, "separator": "\n\n", "learning_rate": "auto"},
    )
    planned = plan_sweep(asked, tmp_path / "sweep")
    write_sweep(planned)
    read = read_sweep(tmp_path / "sweep")
    assert read == planned
    configs = [cell_configuration(cell) for cell in read.cells]
    wanted = [cell.config for cell in grid_cells(asked)]
    assert len(configs) == len(wanted) == 4 and all(config in wanted for config in configs)


@pytest.mark.parametrize("fields", [{"keep_megabytes": 50}, {"level": 0.95}, {"shots": 8, "seeds": 0}])
def test_a_default_that_is_given_is_the_default(fields: dict[str, Any], own: dict[str, Any]) -> None:
    assert the_id("compare", **own, **fields) == the_id("compare", **own)


def test_cells_stand_beside_those_that_share_most(own: dict[str, Any]) -> None:
    axes = {
        "seeds": [0, 1],
        "shots": [2, 4],
        "recipes": ["dai", "shen"],
        "model": [own["model"], "pocket-mini"],
    }
    cells = plan("compare", axes, **{name: value for name, value in own.items() if name != "model"}).cells
    assert len({cell.id for cell in cells}) == 16
    for depth, groups in ((1, 2), (3, 8)):
        seen = [cell.group[:depth] for cell in cells]
        changes = sum(one != other for one, other in pairwise(seen))
        assert changes == groups - 1 and len(set(seen)) == groups


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("numbers")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hashing.hashlib, "file_digest", refused)
    with pytest.raises(UserError, match=r"Cannot read .*a\.txt' \(Permission denied\)"):
        plan("tiny", file=str(tmp_path / "a.txt"))
