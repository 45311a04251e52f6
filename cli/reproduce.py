"""`iclprobe reproduce`: the tables and figures of both papers."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .output import print_study, say, write_line


@click.command()
@click.argument("paper", required=False, metavar="[PAPER]")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--all", "everything", is_flag=True, help="Every experiment of both papers.")
@click.option(
    "--scale",
    default="pocket",
    show_default=True,
    help="pocket (embedded models and tasks) or paper.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="limit=32", help="A setting in place of the declared one."
)
@click.option(
    "--workers", type=click.IntRange(1, 4096), help="Processes. [default: one a core; one at paper scale]"
)
@click.option("--json", "as_json", is_flag=True, help="Print tables, findings and provenance as JSON.")
@click.option("--out", metavar="FOLDER", help="Where to write: a run directory, or a directory of them.")
@click.option("--overwrite", is_flag=True, help="Replace finished run directories.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but the result.")
def reproduce(
    paper: str | None,
    name: str | None,
    everything: bool,
    scale: str,
    changes: tuple[str, ...],
    workers: int | None,
    as_json: bool,
    out: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Run a table or figure of one of the two papers and show its numbers beside the published ones.

    PAPER is shen2024 or barnatan, or claims; NAME is fig4, table2 …, all of the paper without it. Without arguments:
    list them. A folder that is complete is kept when many are run, and its studies are shared.
    """
    import json

    from ..analyses.papers.catalogue import CLAIMS, only_experiment
    from ..analyses.papers.overrides import read_overrides
    from ..analyses.papers.registration import reproduce as run
    from ..analyses.papers.reproduction import require_scale
    from ..study.run_directory import free_run_name

    require_scale(scale)
    overrides = read_overrides(changes)
    tell = (lambda line: None) if quiet else say
    if everything and paper is not None:
        raise UserError("--all takes every experiment: leave the paper out, or leave --all out")
    if paper is None and not everything:
        _list()
        return
    if CLAIMS in (paper, name):
        # Claims are judged by the studies of all experiments.
        paper, name, everything = None, None, True
    if everything or name is None:
        folder = Path(out or Path("runs") / f"{paper or 'papers'}-{scale}")
        _run_many(paper, scale, overrides, folder, overwrite, workers, tell)
        return
    experiment = only_experiment(str(paper), name)
    place = out
    if place is None and not as_json:
        place = str(Path("runs") / free_run_name(experiment.paper, experiment.name, scale))
    result = run(experiment, scale=scale, overrides=overrides, out=place, overwrite=overwrite, say=tell)  # type: ignore[arg-type]
    if as_json:
        write_line(json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_study(result)
    if place is not None:
        tell(f"wrote {place}")


def _list() -> None:
    from ..analyses.papers.catalogue import EXPERIMENTS
    from ..analyses.papers.claim_list import CLAIM_LIST
    from ..analyses.papers.listing import listing_text

    write_line(listing_text(EXPERIMENTS, len(CLAIM_LIST)))


def _run_many(
    paper: str | None, scale: str, overrides: dict, folder: Path, overwrite: bool, workers: int | None, tell
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
        say=tell,
    )
    claims = folder / "claims" / "table.txt"
    if paper is None and claims.is_file():
        write_line(claims.read_text(encoding="utf-8"))
    write_line(index.table())
    tell(f"wrote {folder}")
    if index.failed:
        raise UserError(
            f"{len(index.failed)} of {len(index.rows)} experiments failed, see {folder / 'index.txt'}"
        )
