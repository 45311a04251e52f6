"""What holds for every analysis: run, saved, loaded, shown and asked for in one way."""

from __future__ import annotations

import html
import importlib
import json
import pickle
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import yaml

from iclprobe.analyses import runner
from iclprobe.cli import main
from iclprobe.cli.analysis_command import config_values
from iclprobe.cli.field_options import FieldOption, hidden_fields, options_of
from iclprobe.errors import UserError
from iclprobe.settings import make_config
from iclprobe.study.analysis import registered_analyses
from iclprobe.study.config_text import config_text
from iclprobe.study.finding import findings_frame
from iclprobe.study.json_values import rows_of
from iclprobe.study.loading import load_study

# importlib mode has no folder of its own on the path.
sys.path.insert(0, str(Path(__file__).parent))
assert_drawn_alike = importlib.import_module("drawn_data").assert_drawn_alike

_SMALL_RUNS: Any = importlib.import_module("small_runs")
SMALL: dict[str, str] = dict(_SMALL_RUNS.SMALL)
_config = _SMALL_RUNS.config_of
NAMES = sorted(registered_analyses())


def test_every_analysis_is_tried() -> None:
    assert set(NAMES) == set(SMALL)


@pytest.fixture(scope="module", autouse=True)
def what_was_run_before(experiments: Path, swept: Path) -> None:
    SMALL.update(claims=str(experiments), gather=str(swept))


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_study_is_the_one_that_was_saved(name: str, run: Callable) -> None:
    study, folder = run(name)
    loaded = load_study(folder)
    assert type(loaded) is type(study) and loaded.analysis == name
    assert list(loaded.tables) == list(study.tables)
    for table, frame in study.tables.items():
        pandas.testing.assert_frame_equal(loaded.tables[table], frame, check_exact=True)
    pandas.testing.assert_frame_equal(findings_frame(loaded.findings), findings_frame(study.findings))
    assert loaded.config == study.config
    assert str(loaded) == str(study) == (folder / "table.txt").read_text(encoding="utf-8").rstrip("\n")
    assert loaded._repr_html_() == study._repr_html_()
    assert set(loaded.arrays) == set(study.arrays)
    for group in study.arrays:
        assert set(loaded.arrays[group]) == set(study.arrays[group])
        for array, values in study.arrays[group].items():
            np.testing.assert_array_equal(loaded.arrays[group][array], values)
    figures, again = study.figures(), loaded.figures()
    assert set(figures) == set(again) == {path.stem for path in folder.glob("*.png")}
    for kind, figure in figures.items():
        assert_drawn_alike(figure, again[kind])


@pytest.mark.parametrize("name", NAMES)
def test_alarms_come_first_and_every_result_says_its_number(name: str, run: Callable) -> None:
    study, _ = run(name)
    kinds = [finding.kind for finding in study.findings]
    assert kinds == sorted(kinds, key=["alarm", "result", "warning"].index)
    assert any(finding.kind == "result" and finding.value == finding.value for finding in study.findings)
    assert all(finding.sentence and finding.name for finding in study.findings)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_beside_the_tables_tells_what_they_hold(name: str, run: Callable) -> None:
    study, folder = run(name)
    told = json.loads((folder / "tables" / "columns.json").read_text(encoding="utf-8"))
    for table, frame in study.tables.items():
        assert [column["name"] for column in told[table]["columns"]] == list(frame.columns)
        assert all(column["meaning"] for column in told[table]["columns"]) and told[table]["meaning"]
        assert len(pandas.read_csv(folder / f"{table}.csv", skip_blank_lines=False)) == len(frame)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == 1 and manifest["analysis"] == name and manifest["complete"] is True
    assert {"versions", "device", "date_utc"} <= set(manifest["provenance"])
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_run_has_its_page(name: str, run: Callable) -> None:
    study, folder = run(name)
    page = (folder / "page.html").read_text(encoding="utf-8")
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [table["name"] for table in data["tables"]] == [
        table for table, frame in study.tables.items() if table != "facts" and len(frame)
    ]
    assert set(data["figures"]) == {path.stem for path in folder.glob("*.png")}
    text = html.unescape(page)
    sheet = study.sheet()
    assert all(said in text for said in (*sheet.alarms, *sheet.warnings, *sheet.notes))
    for finding in study.findings:
        assert finding.kind != "result" or finding.sentence in text or finding.name in text
    assert (data["explorer"] is not None) == (name in ("compare", "attention"))
    assert config_text(name, study.config) in text and "@inproceedings{shen2024" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_study_pickles_and_is_short_where_a_notebook_shows_it(name: str, run: Callable) -> None:
    study, _ = run(name)
    copy = pickle.loads(pickle.dumps(study))
    assert str(copy) == str(study)
    assert len(study._repr_html_().encode()) < 5000 and len(repr(study)) < 600 and "\n" not in repr(study)


@pytest.mark.parametrize("name", NAMES)
def test_json_is_the_tables_and_the_command_is_the_function(
    name: str,
    run: Callable,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    study, _ = run(name)
    command = registered_analyses()[name].command
    assert main([command, *shlex.split(SMALL[name]), "--json", "-q"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["analysis"] == name
    assert {table: rows_of(frame) for table, frame in study.tables.items()} == said["tables"]
    assert rows_of(findings_frame(study.findings)) == said["findings"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_a_run_and_two_beside_each_other(
    name: str, run: Callable, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    study, folder = run(name)
    assert main(["show", str(folder)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == str(study)
    study.save(tmp_path / "again", page=False)
    assert main(["show", str(folder), str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    assert "again" in said and any(each.name in said for each in study.findings if each.kind == "result")


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_comes_back_from_yaml_and_from_the_command_line(
    name: str, run: Callable, tmp_path: Path
) -> None:
    study, folder = run(name)
    analysis = registered_analyses()[name]
    assert main(["validate", str(folder / "config.yaml")]) == 0
    values = config_values(str(folder / "config.yaml"), analysis)
    assert make_config(analysis.config, values, name) == study.config
    assert set(values) == set(analysis.config.model_fields)
    # Every option says what its field holds, over a file that says nothing.
    config = _config(name, SMALL[name])
    for field in options_of(analysis.config):
        wanted: Any = config
        for part in field.place:
            wanted = getattr(wanted, part)
        text = _typed(wanted, field)
        if text is None:
            continue
        option = field.names[-1]
        made: Any = _config(name, f"{_required(name, field)} {option}={shlex.quote(text)}")
        for part in field.place:
            made = getattr(made, part)
        assert made == wanted, (option, text)


def _required(name: str, field: FieldOption) -> str:
    """Return what a command needs to be asked at all, besides the field itself."""
    needed = {"paper": "shen2024", "name": "fig2"} if name == "reproduce" else {}
    return " ".join(f"--{key}={value}" for key, value in needed.items() if field.place != (key,))


def _typed(value: Any, field: FieldOption) -> str | None:
    """Return a value as it is typed; None where the command line says it by leaving it out."""
    if value is None or value in ((), {}):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value).replace("\\", "\\\\").replace("\n", "\\n") if field.declared.read else str(value)
    if isinstance(value, tuple) and all(isinstance(each, str | int | float) for each in value):
        return ",".join(map(str, value))
    return None


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_every_field_and_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = registered_analyses()[name]
    assert main([analysis.command, "-h"]) == 0
    said = capsys.readouterr().out
    for field in options_of(analysis.config):
        assert field.help, f"{name}: {field.place} has no help: document it in the class's docstring"
        assert all(option in said for option in field.names)
    for hidden in hidden_fields(analysis.config):
        assert hidden in said
    for option in (
        *("--config", "--json", "--out", "--overwrite", "--no-page", "--quiet", "--verbose", "--help"),
    ):
        assert option in said


@pytest.mark.parametrize("name", NAMES)
def test_an_out_that_is_taken_is_refused_before_anything_runs(
    name: str, run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    study, folder = run(name)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main([registered_analyses()[name].command, *shlex.split(SMALL[name]), "--out", str(folder)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(UserError, match="overwrite"):
        study.save(folder)


@pytest.mark.parametrize("name", NAMES)
def test_an_out_where_no_folder_can_be_is_refused_before_anything_runs(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("somebody's")
    begun = []
    monkeypatch.setattr(runner, "Context", lambda *_: begun.append(name))
    command = registered_analyses()[name].command
    assert main([command, *shlex.split(SMALL[name]), "--out", str(tmp_path / "file" / "run")]) == 2
    assert not begun
    said = capsys.readouterr().err
    assert "no folder can be there" in said and "Traceback" not in said


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_nothing(name: str, run: Callable, tmp_path: Path) -> None:
    """No file may grow beyond 10 kB, which fails as a full disk does and needs no disk to fill."""
    resource = pytest.importorskip("resource")
    study, _ = run(name)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(UserError, match="the disk is full or a limit on file sizes is reached"):
            study.save(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_file_of_another_analysis_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = next(each for each in NAMES if each != name) if len(NAMES) > 1 else "other"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"analysis": other}))
    assert main([registered_analyses()[name].command, "--config", str(tmp_path / "config.yaml")]) == 2
    assert f"for the analysis '{other}'" in capsys.readouterr().err


def test_a_configuration_that_was_only_validated_runs_the_same(tmp_path: Path) -> None:
    config = _config("gradients", SMALL["gradients"])
    (tmp_path / "config.yaml").write_text(config_text("gradients", config), encoding="utf-8")
    assert _config("gradients", f"--config {tmp_path / 'config.yaml'}") == config
