"""`iclprobe sweep`: a grid of cells from a study file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from .output import say, write_line


class _Shard(click.ParamType):
    """A part of the cells, as ``i/n``."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return both numbers."""
        part, _, parts = str(value).partition("/")
        if not (part.isdecimal() and parts.isdecimal() and len(value) <= 20):
            self.fail(f"{value!r} is no part of the cells: give it as 3/16", param, ctx)
        return int(part), int(parts)


@click.command()
@click.argument("study", metavar="STUDY.yaml")
@click.option("--out", metavar="FOLDER", help="The sweep's folder. [default: runs/…, by the file's name]")
@click.option(
    "--dry-run", is_flag=True, help="Tell the cells, what they will take and what is done; run nothing."
)
@click.option(
    "--runner", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where."
)
@click.option(
    "--workers", type=click.IntRange(1, 4096), default=1, show_default=True, help="Local processes."
)
@click.option("--shard", type=_Shard(), help="The I-th of N parts of the cells alone, for a job array.")
@click.option("--retry-failed", is_flag=True, help="Try cells again that failed before.")
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="A running cluster's. [default: RAY_ADDRESS, or a fresh one here]",
)
@click.option(
    "--lapse-seconds",
    type=click.FloatRange(1, 86_400),
    default=120,
    show_default=True,
    help="A process of another machine that gives no sign for so long counts as gone.",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but the result.")
def sweep(study: str, out: str | None, dry_run: bool, quiet: bool, **options: Any) -> None:
    """Compute every cell of a grid that is not there yet; run it again after a kill, or beside itself."""
    folder = out or str(Path("runs") / Path(study).stem)
    if dry_run:
        from ..sweeps.dry_run import dry_run as look

        write_line(look(study, folder).table())
        return
    from ..sweeps.sweep import sweep as run

    result = run(study, out=folder, say=None if quiet else say, **options)
    write_line(result.table())
    if not quiet:
        say(f"wrote {folder}; put it together with: iclprobe gather {folder}")
    if result.failures:
        raise UserError(
            f"{len(result.failures)} of {result.cells} cells failed: mend what they say, and run again "
            "with --retry-failed"
        )
