"""Pages in a real Chromium, opened from disk, with everything told that they ask for or complain of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / ".browser" / "axe.min.js"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; a test that cannot have one is skipped with the reason."""
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright: make install")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or name one in CHROMIUM")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page that is open.

    Attributes:
        tab: Playwright's page.
        requests: Addresses that were asked for, but those inside the page.
        complaints: What its console and its scripts said.
    """

    tab: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: Any, path: Path | str, address: str = "", *, width: int = 1280, scheme: str = "light"
) -> Iterator[Opened]:
    """Open a page from disk, and wait until everything is drawn.

    Args:
        browser: Chromium.
        path: The page, or its address on a server.
        address: What stands behind its name, such as ``#tables``.
        width: Of the window.
        scheme: ``light`` or ``dark``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        tab = context.new_page()
        made = Opened(tab)
        inside = ("data:", "blob:")
        tab.on(
            "request",
            lambda request: None if request.url.startswith(inside) else made.requests.append(request.url),
        )
        tab.on("console", lambda message: made.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: made.complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (made.complaints.append("a dialog opened"), dialog.dismiss()))
        tab.goto((path if isinstance(path, str) else path.as_uri()) + address)
        settled(tab)
        yield made
    finally:
        context.close()


def settled(tab: Any) -> None:
    """Wait until figures and the explorer are drawn."""
    tab.wait_for_function(
        "() => [...document.querySelectorAll('figure[data-figure] .card')].every((each) => each.firstChild?.complete)"
        " && (!document.getElementById('stage') || document.getElementById('stage-view')?.dataset.shown)"
        " && [...document.querySelectorAll('.plot')].every((each) => each.firstChild || !each.clientWidth)"
    )
