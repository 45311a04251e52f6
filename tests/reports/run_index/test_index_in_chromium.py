"""The index of runs in Chromium: a thousand runs listed, sorted and filtered, and two of them beside each other."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_run_directories
import pytest
from opened_pages import AXE, chromium, opened

from iclprobe.cli.run_server import RunServer
from iclprobe.reports.run_index.bundle import write_bundle

RUNS = 1000
MEASURE = "entries with |w| < 0.01, matrix W_Q"
HOSTILE = "<img src=x onerror=alert(1)> \u202eevil & 'x'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index")
    made_run_directories.write_run(place / "one")
    made_run_directories.write_copies(place / "one", place / "runs", RUNS)
    made_run_directories.write_copies(place / "one", place / "runs" / HOSTILE, 1)
    (place / "runs" / "group5" / "run5" / "manifest.json").write_text("{")
    return place / "runs"


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with RunServer(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


def column(tab: Any, place: int) -> list[str]:
    return tab.evaluate(
        "place => [...document.querySelectorAll('#runs tbody tr')].map((row) => row.cells[place].innerText.trim())",
        place,
    )


def measured(folder: Path, run: str) -> float:
    with (folder / run / "findings.csv").open(encoding="utf-8") as file:
        return float(next(csv.DictReader(file))["value"])


def test_all_runs_are_listed_filtered_and_sorted(browser: Any, folder: Path, address: str) -> None:
    with opened(browser, address) as made:
        tab = made.tab
        assert made.requests == [address] and made.complaints == []
        assert len(column(tab, 1)) == RUNS + 1
        assert f"{RUNS + 1} of {RUNS + 1} runs: {RUNS} finished, 1 broken" in tab.inner_text("#counts")
        assert column(tab, 1)[0] == f"group{(RUNS - 1) % 10}/run{RUNS - 1}"
        tab.select_option("#model", "model1")
        assert set(column(tab, 4)) == {"model1"}
        assert len(column(tab, 1)) == len([n for n in range(RUNS) if n % 3 == 1])
        tab.fill("#search", "group4 run4")
        kept = column(tab, 1)
        assert kept and all(name.startswith("group4/run4") for name in kept)
        tab.select_option("#measure", label=f"{MEASURE} (%)")
        tab.click("th.measure button:not(.remove)")
        values = [float(text.split("\n")[0]) for text in column(tab, 8)]
        assert values == sorted(values, reverse=True)
        assert values == [pytest.approx(measured(folder, name), rel=1e-3) for name in column(tab, 1)]
        tab.click("th.measure button:not(.remove)")
        assert [float(text.split("\n")[0]) for text in column(tab, 8)] == values[::-1]
        kept, again = column(tab, 1), tab.url
    with opened(browser, again) as made:
        assert column(made.tab, 1) == kept
        assert made.tab.input_value("#search") == "group4 run4"


def beside(tab: Any, runs: list[str]) -> list[list[str]]:
    for run in runs:
        tab.check(f'input[aria-label="Select {run}"]')
    tab.click("#compare")
    tab.wait_for_selector("#beside table")
    return tab.evaluate(
        "[...document.querySelectorAll('#beside tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )


@pytest.mark.parametrize("served", [True, False])
def test_two_runs_stand_beside_each_other(
    browser: Any, folder: Path, address: str, tmp_path: Path, served: bool
) -> None:
    runs = ["group7/run7", "group8/run8"]
    if not served:
        made_run_directories.write_copies(folder.parent / "one", tmp_path / "few", 9)
        write_bundle(tmp_path / "few", tmp_path / "out")
    where = address if served else tmp_path / "out" / "index.html"
    with opened(browser, where) as made:
        rows = beside(made.tab, runs)
        assert ["model", "model1", "model2"] in rows
        assert not [row for row in rows if row[0] == "analysis"]
        one, other = (measured(folder, run) for run in runs)
        found = next(row for row in rows if row[0] == f"{MEASURE} (%)")
        assert float(found[1]) == pytest.approx(one, rel=1e-3)
        value, difference = found[2].split("\n")
        assert float(value) == pytest.approx(other, rel=1e-3)
        assert float(difference) == pytest.approx(other - one, rel=1e-3)
        assert made.complaints == []
        shown = made.tab.url
    with opened(browser, shown) as made:
        made.tab.wait_for_selector("#beside table")
        assert made.tab.inner_text("#selection") == "2 selected"


def test_a_hostile_name_is_text_and_its_files_open(browser: Any, address: str) -> None:
    with opened(browser, address) as made:
        made.tab.fill("#search", "evil")
        assert column(made.tab, 1) == [f"{HOSTILE}/group0/run0"]
        made.tab.click("td.run a")
        assert "W_Q" in made.tab.inner_text("body")
        assert [said for said in made.complaints if "dialog" in said] == []


def test_the_index_is_printed_on_white(browser: Any, address: str) -> None:
    with opened(browser, address, scheme="dark") as made:
        made.tab.emulate_media(media="print", color_scheme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert made.tab.evaluate(ground) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_index_can_be_used_by_all(browser: Any, address: str, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip("there is no axe-core: make browser")
    with opened(browser, f"{address}#search=group4+run4", width=400, scheme=scheme) as made:
        beside(made.tab, ["group4/run4", "group4/run44"])
        assert made.tab.evaluate("document.scrollingElement.scrollWidth") <= 400
        made.tab.evaluate(AXE.read_text(encoding="utf-8"))
        found = made.tab.evaluate("axe.run().then((told) => told.violations)")
        grave = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not grave, [(each["id"], each["nodes"][0]["html"]) for each in grave]
