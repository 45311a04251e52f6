"""Tables come back from disk as they were, whatever they hold, and a damaged run is refused in a sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iclprobe.errors import UserError
from iclprobe.settings import Settings
from iclprobe.study.analysis import Analysis, register
from iclprobe.study.columns import Column, Table
from iclprobe.study.finding import Finding, findings_frame
from iclprobe.study.loading import load_study
from iclprobe.study.study import make_study
from iclprobe.study.table_files import read_table, write_table

HARD = Table(
    "hard",
    "values that plain CSV loses",
    (
        Column("text", "text", "any text"),
        Column("count", "integer", "integers with gaps"),
        Column("number", "number", "any number"),
        Column("truth", "truth", "true, false or missing"),
    ),
)
TEXTS = ["NA", "null", "", "nan", "None", "a\nb", "a\r\nb", '"', ",", " ", "é", "0", None]
COUNTS = [0, 1, -1, 2**63 - 1, -(2**63), None]
NUMBERS = [0.0, -0.0, 0.1, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, None]
ROW = st.tuples(
    st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.sampled_from(COUNTS),
    st.sampled_from(NUMBERS) | st.floats(),
    st.sampled_from([True, False, None]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=6))
def test_a_table_comes_back_bit_for_bit(rows: list[tuple[Any, ...]], tmp_path: Path) -> None:
    names = [column.name for column in HARD.columns]
    frame = HARD.frame(dict(zip(names, row, strict=True)) for row in rows)
    write_table(tmp_path, HARD.name, frame)
    back = read_table(tmp_path, HARD)
    pandas.testing.assert_frame_equal(back, frame, check_exact=True)
    entries: Any = back.itertuples(index=False)
    for row, (text, count, number, truth) in zip(entries, rows, strict=True):
        assert (text is None and row.text != row.text) or row.text == text
        assert (row.count is pandas.NA) if count is None else row[1] == count
        assert math.copysign(1, row.number) == math.copysign(1, number) if number == 0 else True
        assert (row.truth is pandas.NA) if truth is None else row.truth == truth


class HardConfig(Settings):
    """Nothing to ask."""


HARD_ANALYSIS = Analysis(
    "hard_for_tests", "Hold what is hard to keep.", HardConfig, lambda *_: None, (HARD,), needs="nothing"
)


def _saved(folder: Path) -> Path:
    rows = [{"text": text, "count": None, "number": math.nan, "truth": None} for text in TEXTS]
    findings = (
        Finding("warned", "Read this last.", "warning"),
        Finding(
            "found", "It is infinite.", value=math.inf, low=-math.inf, null=0.0, unit="%", where={"layer": 3}
        ),
        Finding("alarmed", "Read this first.", "alarm"),
    )
    study = make_study(HARD_ANALYSIS, HardConfig(), {"hard": rows}, findings, {"device": "cpu"})
    return study.save(folder)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from iclprobe.study import analysis

    monkeypatch.setattr(analysis, "_REGISTERED", dict(analysis._REGISTERED))
    register(HARD_ANALYSIS)
    return _saved(tmp_path / "run")


def test_findings_come_back_with_their_numbers_alarms_first(saved: Path) -> None:
    loaded = load_study(saved)
    assert [finding.kind for finding in loaded.findings] == ["alarm", "result", "warning"]
    found = loaded.findings[1]
    assert (found.value, found.low, found.null, found.where) == (math.inf, -math.inf, 0.0, {"layer": 3})
    assert math.isnan(found.high)
    said = loaded.to_json()
    assert said["findings"][1]["value"] == "inf" and said["findings"][1]["high"] is None
    json.dumps(said, allow_nan=False)


def test_a_column_that_is_not_declared_or_not_of_its_kind_is_no_study() -> None:
    whole = {"text": "a", "count": 1, "number": 1.0, "truth": True}
    for wrong, told in (
        ({**whole, "more": 1}, "more"),
        ({"text": "a"}, "count"),
        ({**whole, "text": 3}, "text"),
        ({**whole, "count": "many"}, "count"),
        ({**whole, "count": 1.5}, "count"),
    ):
        with pytest.raises(ValueError, match=told):
            HARD.frame([wrong])
    with pytest.raises(ValueError, match="no table hard"):
        make_study(HARD_ANALYSIS, HardConfig(), {}, (), {})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: (run / "manifest.json").unlink(), "no run directory"),
        (lambda run: (run / "manifest.json").write_text("{"), "cannot be read"),
        (lambda run: _change(run, format=99), "format 99"),
        (lambda run: _change(run, format=None), "format None"),
        (lambda run: _change(run, complete=False), "finished run"),
        (lambda run: _change(run, analysis="palmistry"), "no analysis 'palmistry'"),
        (lambda run: (run / "tables" / "hard.parquet").unlink(), "not there"),
        (lambda run: (run / "tables" / "hard.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda run: (run / "tables" / "findings.parquet").write_bytes(b""), "cannot be read"),
        (lambda run: findings_frame(()).to_parquet(run / "tables" / "hard.parquet"), "cannot be read"),
        (lambda run: (run / "config.yaml").write_text("shotz: 3"), "unknown key 'shotz'"),
    ],
)
def test_a_damaged_run_is_refused_in_a_sentence(saved: Path, damage: Any, told: str) -> None:
    damage(saved)
    with pytest.raises(UserError) as refused:
        load_study(saved)
    assert told in str(refused.value)


def _change(run: Path, **values: Any) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, **values}))
