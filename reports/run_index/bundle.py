"""The index as files alone: to be put on a web server, or mailed."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...errors import UserError, shown
from ...plain_place import plain_file
from ...study.run_directory import run_directory
from ...study.run_listing import list_runs
from ...text_files import in_home
from .index import index_page
from .settings import settings_of

# What people read; tables in Parquet, arrays and captures stay where they are.
_KINDS = (".html", ".txt", ".yaml", ".json", ".csv", ".png")


def write_bundle(folder: str | Path, out: str | Path) -> int:
    """Write the index of a folder, and of each finished run what people read, into a folder of its own.

    Args:
        folder: Where the runs are.
        out: The folder to be; it opens from disk (``index.html``) and from any web server.

    Returns:
        The bytes written.

    Raises:
        UserError: If there are no runs, or `out` holds something already.
    """
    top = in_home(folder).resolve()
    runs = list_runs(top)
    finished = [run for run in runs if run.state == "finished"]
    if not finished:
        raise UserError(
            f"no finished run lies below {shown(folder)}: name a folder that holds run directories"
        )
    with run_directory(out) as place:
        settings = {}
        for run in finished:
            settings[run.path] = settings_of(top / run.path)
            target = place / "files" / run.path
            target.mkdir(parents=True)
            for name in sorted(path.name for path in (top / run.path).iterdir() if path.suffix in _KINDS):
                try:
                    source = plain_file(top, name if run.path == "." else f"{run.path}/{name}")
                except UserError:
                    # A link, or hidden: nothing outside the folder is given away.
                    continue
                shutil.copyfile(source, target / name)
        page = index_page(runs, f"Runs in {top.name}", settings)
        (place / "index.html").write_text(page, encoding="utf-8")
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
