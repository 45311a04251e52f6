"""Cells of a sweep share what they have in common, and no number knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest
import tiny_checkpoint
from sweep_files import SMALL

import iclprobe
from iclprobe.analyses import subject
from iclprobe.analyses.comparison import run as comparison
from iclprobe.study.analysis import find_analysis
from iclprobe.sweeps.sweep import sweep

AXES = {
    "model": ["pocket-mini", "pocket-small"],
    "shots": [[2], [4]],
    "recipes": ["dai", "barnatan_lcft"],
}


def alone(cell: Any, analysis: str, out: Path) -> iclprobe.Study:
    """Run a cell's configuration by itself."""
    return iclprobe.run_analysis(find_analysis(analysis), out=out / cell.id, page=False, **cell.config)


def assert_alike(shared: iclprobe.Study, by_itself: iclprobe.Study) -> None:
    assert shared.config == by_itself.config
    assert list(shared.tables) == list(by_itself.tables)
    for name, frame in by_itself.tables.items():
        pandas.testing.assert_frame_equal(shared.tables[name], frame, check_exact=True, obj=name)
    assert [repr(finding) for finding in shared.findings] == [repr(finding) for finding in by_itself.findings]
    assert set(shared.arrays) == set(by_itself.arrays)
    for group, arrays in by_itself.arrays.items():
        for name, values in arrays.items():
            assert (shared.arrays[group][name] == values).all(), (group, name)


@pytest.mark.slow
def test_cells_have_the_numbers_that_they_have_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, recorded = [], []
    load, record = subject.load_model, comparison.record_pretrained
    monkeypatch.setattr(subject, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k))
    monkeypatch.setattr(
        comparison, "record_pretrained", lambda *a, **k: recorded.append(a) or record(*a, **k)
    )
    fixed = {name: value for name, value in SMALL.items() if name != "recipes"}
    result = sweep(analysis="compare", axes=AXES, fixed=fixed, out=tmp_path / "sweep")
    assert (result.computed, result.failures) == (8, ())
    # A model once, and a context once for both recipes.
    assert (len(loaded), len(recorded)) == (2, 4)
    for cell in result.folder.cells:
        shared = iclprobe.load_study(result.folder.run_directory(cell.id))
        assert_alike(shared, alone(cell, "compare", tmp_path / "alone"))


@pytest.mark.slow
def test_cells_in_any_order_have_the_numbers_that_they_have_alone(tmp_path: Path) -> None:
    """What stands beside each other was recorded with other options, each of which may be forgotten by a key."""
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "other draw": {"seeds": 1},
        "other limit": {"limit": 6},
        "other order": {"order": 3},
        "other scoring": {"scoring": "sum"},
        "other separator": {"separator": " "},
        "balanced": {"balanced": True},
        "shorter records": {"max_record_tokens": 12},
        "other nulls": {"null_draws": 3},
        "other agreement": {"agreement": "changed"},
        "other variant": {"score_variant": "softmax"},
        "more kept": {"keep_rows": 3, "keep_maps": 0},
        "other level": {"level": 0.8},
        "more demonstrations": {"match_demonstrations": False},
        "other rate": {"learning_rate": 0.01},
        "other dtype": {"dtype": "bfloat16"},
        "other layers": {"plan": {"layers": [0]}},
    }
    changed = {name for fields in changes.values() for name in fields}
    fixed = {name: value for name, value in SMALL.items() if name not in changed}
    rest = {"seeds": 0, **{name: value for name, value in SMALL.items() if name in changed}}
    points = {name: {**rest, **fields} for name, fields in changes.items()}
    result = sweep(
        analysis="compare",
        axes={"change": points},
        fixed={**fixed, "model": "pocket-mini", "shots": 2},
        out=tmp_path / "sweep",
    )
    assert result.failures == () and len(result.folder.cells) == len(points)
    assert len({cell.id for cell in result.folder.cells}) == len(points)
    for cell in result.folder.cells:
        shared = iclprobe.load_study(result.folder.run_directory(cell.id))
        assert_alike(shared, alone(cell, "compare", tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("analysis", ["attention", "gradients", "order"])
def test_other_analyses_share_a_model(analysis: str, tmp_path: Path, checkpoint: Path, records: Path) -> None:
    fixed: dict[str, Any] = {"shots": 2, "device": "cpu", "limit": 4, "learning_rate": 0.01}
    if analysis == "order":
        fixed |= {"orders": 2, "epochs": 1, "evaluation_epochs": 1, "arms": ["shen"]}
    if analysis == "attention":
        fixed |= {"resamples": 50}
    known = set(find_analysis(analysis).config.model_fields)
    own = {"data": str(records), "template": tiny_checkpoint.TEMPLATE, "label_words": ["bad", "good"]}
    fields = {name: value for name, value in {**fixed, **own}.items() if name in known}
    key = "model" if "model" in known else "models"
    axes = {"seeds": [[0], [1]]} if analysis == "gradients" else {}
    axes = {key: [str(checkpoint), "pocket-mini"], **axes}
    result = sweep(analysis=analysis, axes=axes, fixed=fields, out=tmp_path / "sweep")
    assert (result.computed, result.failures) == (len(result.folder.cells), ())
    for cell in result.folder.cells:
        shared = iclprobe.load_study(result.folder.run_directory(cell.id))
        assert_alike(shared, alone(cell, analysis, tmp_path / "alone"))
