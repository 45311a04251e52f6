"""`iclprobe reproduce`: the tables and figures of both papers, one or many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..analyses.papers.registration import REPRODUCE
from ..errors import UserError
from .analysis_command import AnalysisCommand
from .output import say, write_line

_CLAIMS = "claims"


class _Reproduce(AnalysisCommand):
    """The command of one experiment, which also lists them and runs many."""

    def run(self, **typed: Any) -> None:
        """List experiments, or run one, those of a paper, or all of them."""
        from ..analyses.papers.overrides import read_overrides
        from ..analyses.papers.reproduction import require_scale

        paper = typed["paper"] or typed["paper_argument"]
        name = typed["name"] or typed["name_argument"]
        every, workers = typed.pop("every"), typed.pop("workers")
        if every and paper is not None:
            raise UserError("--all takes every experiment: leave the paper out, or leave --all out")
        if paper is None and not every and typed["config"] is None:
            _list()
            return
        # Claims are judged by the studies of all experiments.
        claims = _CLAIMS in (paper, name)
        if not (every or claims or (name is None and typed["config"] is None)):
            super().run(**typed)
            return
        if typed["config"] is not None or typed["as_json"]:
            raise UserError("--config and --json are for one experiment: name it, or leave them out")
        scale = typed["scale"] or "pocket"
        require_scale(scale)
        paper = None if every or claims else paper
        folder = Path(typed["out"] or Path("runs") / f"{paper or 'papers'}-{scale}")
        tell = (lambda line: None) if typed["quiet"] else say
        overrides = read_overrides(typed["overrides"])
        _run_many(paper, scale, overrides, folder, typed["overwrite"], not typed["no_page"], workers, tell)


reproduce = _Reproduce(
    REPRODUCE,
    click.Option(
        ["--all", "every"], is_flag=True, help="Every experiment of both papers, and their claims judged."
    ),
    click.Option(
        ["--workers"],
        type=click.IntRange(1, 4096),
        help="Processes, where many are run. [default: one a core; one at paper scale]",
    ),
)
reproduce.help = (
    f"{REPRODUCE.summary}\n\nPAPER is shen2024 or barnatan, or claims, which judges both papers' claims; NAME is "
    "fig4, table2 …, all of the paper without it. Without arguments: list them. Of many, a folder that is "
    "complete is kept, and studies are shared.\n\nOnly --config says: experiment, settings."
)


def _list() -> None:
    from ..analyses.papers.catalogue import EXPERIMENTS
    from ..analyses.papers.claim_list import CLAIM_LIST
    from ..analyses.papers.listing import listing_text

    write_line(listing_text(EXPERIMENTS, len(CLAIM_LIST)))


def _run_many(
    paper: str | None,
    scale: Any,
    overrides: dict[str, Any],
    folder: Path,
    overwrite: bool,
    page: bool,
    workers: int | None,
    tell: Any,
) -> None:
    from ..analyses.papers.catalogue import find_experiments
    from ..sweeps.experiments import reproduce_all

    index = reproduce_all(
        find_experiments(paper),
        folder,
        scale=scale,
        with_claims=paper is None,
        overrides=overrides,
        overwrite=overwrite,
        page=page,
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
