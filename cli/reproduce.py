"""`iclprobe reproduce`: the tables and figures of both papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from .options import say


def reproduce(
    paper: Annotated[str | None, typer.Argument(help="shen2024 or barnatan; or claims.")] = None,
    name: Annotated[str | None, typer.Argument(help="fig4, table2 …; all of the paper without it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every experiment of both papers.")] = False,
    scale: Annotated[
        str, typer.Option(help="pocket (embedded model and tasks) or paper (the papers' own).")
    ] = "pocket",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting in place of the declared one: limit=32.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes. [default: one a core; one at paper scale]", min=1, max=4096)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write: a run directory, or a directory of them.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finished run directories.")] = False,
) -> None:
    """Run a table or figure of one of the two papers and show its numbers beside the published ones.

    Without arguments: list them. A folder that is complete is kept when many are run.
    """
    from ..analyses.papers.catalogue import CLAIMS, find_experiments
    from ..analyses.papers.overrides import read_overrides
    from ..analyses.papers.reproduction import reproduce as run
    from ..analyses.papers.reproduction import require_scale
    from ..study.run_directory import free_run_name

    require_scale(scale)
    overrides = read_overrides(changes or ())
    if everything and paper is not None:
        raise UserError("--all takes every experiment: leave the paper out, or leave --all out")
    if paper is None and not everything:
        _list()
        return
    if CLAIMS in (paper, name):
        # Claims are judged by the studies of all experiments.
        paper, name, everything = None, None, True
    if everything or name is None:
        folder = out or Path("runs") / f"{paper or 'papers'}-{scale}"
        _run_many(paper, scale, overrides, folder, overwrite, workers)
        return
    (experiment,) = find_experiments(paper, name)
    folder = out or Path("runs") / free_run_name(experiment.paper, experiment.name, scale)
    result = run(experiment, scale=scale, overrides=overrides, out=folder, overwrite=overwrite, say=say)  # type: ignore[arg-type]
    typer.echo(result.table())
    typer.echo(f"\nwrote {folder}")


def _list() -> None:
    from ..analyses.papers.catalogue import EXPERIMENTS
    from ..analyses.papers.claim_list import CLAIM_LIST
    from ..reports.papers_index import listing_text

    typer.echo(listing_text(EXPERIMENTS, len(CLAIM_LIST)))


def _run_many(
    paper: str | None, scale: str, overrides: dict, folder: Path, overwrite: bool, workers: int | None
) -> None:
    from ..analyses.papers.catalogue import find_experiments
    from ..analyses.papers.every import reproduce_all

    index = reproduce_all(
        find_experiments(paper),
        folder,
        scale=scale,  # type: ignore[arg-type]
        with_claims=paper is None,
        overrides=overrides,
        overwrite=overwrite,
        workers=workers,
        say=say,
    )
    claims = folder / "claims" / "table.txt"
    if paper is None and claims.is_file():
        typer.echo(claims.read_text(encoding="utf-8"))
    typer.echo(index.table())
    typer.echo(f"\nwrote {folder}")
    if index.failed:
        raise UserError(
            f"{len(index.failed)} of {len(index.rows)} experiments failed, see {folder / 'index.txt'}"
        )
