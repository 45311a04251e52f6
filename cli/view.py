"""`iclprobe view` and `iclprobe bundle`: an index over many runs, served here or as files."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say, write_line


@click.command()
@click.argument("folder", default="runs", metavar="[DIR]")
@click.option(
    "--port", default=7575, show_default=True, type=click.IntRange(0, 65535), help="Where; 0 is any free one."
)
def view(folder: str, port: int) -> None:
    """Serve an index of all runs below a folder (runs) to a browser on this machine, read-only, until Ctrl-C."""
    from ..study.run_listing import list_runs
    from ..text_files import in_home
    from .run_server import RunServer

    found = list_runs(folder)
    with RunServer(Path(in_home(folder)), port) as server:
        write_line(f"{len(found)} runs at {server.address}")
        say("Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            # That is how it ends.
            return


@click.command()
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
def bundle(folder: str, out: str) -> None:
    """Write the index of all runs below DIR, and what people read of each, into the folder OUT."""
    from ..reports.run_index.bundle import write_bundle

    size = write_bundle(folder, out)
    write_line(f"{out}: {size / 1e6:.1f} MB; open {Path(out) / 'index.html'}")
