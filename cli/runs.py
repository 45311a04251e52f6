"""`iclprobe show`, `report` and `validate`: runs that are there, and configurations before they run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import UserError, reason_of, shown
from .output import print_study, write_line


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "--json", "as_json", is_flag=True, help="Print each run's tables, findings and provenance as JSON."
)
def show(runs: tuple[str, ...], as_json: bool) -> None:
    """Show a run directory as its command did, or several beside each other."""
    from ..study.loading import load_study

    studies = {run: load_study(run) for run in runs}
    if as_json:
        every = [study.to_json() for study in studies.values()]
        write_line(
            json.dumps(every[0] if len(every) == 1 else every, indent=2, ensure_ascii=False, allow_nan=False)
        )
    elif len(studies) == 1:
        print_study(next(iter(studies.values())))
    else:
        from ..reports.beside import beside_sheet
        from ..reports.sheet_text import sheet_text

        write_line(sheet_text(beside_sheet(_short_names(studies)), width=10_000))


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "--out", metavar="FILE", help="Where one run's page is written. [default: page.html in the run]"
)
def report(runs: tuple[str, ...], out: str | None) -> None:
    """Write the page of each run directory anew: one file that opens from disk; no model is needed."""
    from ..reports.page.page import PAGE, write_page
    from ..study.loading import load_study
    from ..text_files import in_home

    if out is not None and len(runs) > 1:
        raise UserError("--out is where one page is written: leave it out, or give one run directory")
    studies = {run: load_study(run) for run in runs}
    for run, study in studies.items():
        path = in_home(run) / PAGE if out is None else in_home(out)
        try:
            write_line(str(write_page(path, study)))
        except OSError as error:
            raise UserError(
                f"{shown(path)} cannot be written ({reason_of(error)}): give another --out"
            ) from error


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--analysis", metavar="NAME", help="Of which analysis, where the file does not say it.")
def validate(file: str, analysis: str | None) -> None:
    """Check a configuration without running it, and show it with every default."""
    from ..settings import make_config
    from ..study.analysis import find_analysis, there
    from ..study.config_text import config_text
    from ..yaml_text import read_yaml

    values = read_yaml(file, "configuration", "analysis: compare")
    named = values.pop("analysis", None)
    if named is None and analysis is None:
        raise UserError(
            f"{shown(file)} says no analysis: write such as 'analysis: compare' into it, or give --analysis"
        )
    if None not in (named, analysis) and named != analysis:
        raise UserError(
            f"{shown(file)} is for the analysis {shown(named)}, not {shown(analysis)}: leave --analysis out"
        )
    found = find_analysis(str(named or analysis))
    config = make_config(found.config, values, shown(file))
    if found.check is not None:
        there(found.check)(config)
    write_line(config_text(found.name, config).rstrip())


def _short_names(studies: dict) -> dict:
    """Name runs by their last folders, as far as that tells them apart."""
    names = [Path(run).name for run in studies]
    return dict(zip(names, studies.values(), strict=True)) if len(set(names)) == len(names) else studies
