"""How long the index over a thousand runs takes: to be made of what lies on disk, and to stand in a browser."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import iclprobe
from iclprobe.cli.run_server import RunServer
from iclprobe.study.run_listing import list_runs

from .measure import timed
from .options import Options

RUNS = 1000
_FILES = ("config.yaml", "findings.csv", "table.txt")


def run(options: Options) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        folder = _runs(Path(place))
        listed = [timed(lambda: list_runs(folder)) for _ in range(options.pairs)]
        with RunServer(folder, 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                answered = [timed(lambda: urlopen(server.address).read()) for _ in range(options.pairs)]
                shown = _shown(server.address, options.pairs)
            finally:
                server.shutdown()
                thread.join()
    return {
        "runs": RUNS,
        "seconds to list": round(median(listed), 3),
        "seconds until the page has come": round(median(answered), 3),
        "seconds until every run stands in Chromium": shown,
    }


def _runs(place: Path) -> Path:
    iclprobe.compare(model="pocket", limit=16, learning_rate=0.3, out=place / "one", keep_maps=0)
    manifest = json.loads((place / "one" / "manifest.json").read_text())
    for number in range(RUNS):
        target = place / "runs" / f"group{number % 10}" / f"run{number}"
        target.mkdir(parents=True)
        for name in _FILES:
            shutil.copyfile(place / "one" / name, target / name)
        manifest["provenance"]["date_utc"] = f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00"
        (target / "manifest.json").write_text(json.dumps(manifest))
    return place / "runs"


def _shown(address: str, pairs: int) -> float | str:
    program = shutil.which("chromium")
    if program is None:
        return "no Chromium here"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        seconds = []
        for _ in range(pairs):
            tab = browser.new_page()
            seconds.append(timed(lambda tab=tab: _open(tab, address)))
            tab.close()
        browser.close()
    return round(median(seconds), 3)


def _open(tab: Any, address: str) -> None:
    tab.goto(address)
    tab.wait_for_function(f"document.querySelectorAll('#runs tbody tr').length === {RUNS}")
