"""What commands print: results on standard output, everything beside them on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..addresses import public

if TYPE_CHECKING:
    from ..study.study import Study


def say(line: str) -> None:
    """Tell something beside the results, without the secrets of addresses."""
    click.echo(public(line), err=True)


def write_line(text: str) -> None:
    """Write a result, and a line's end."""
    click.echo(text)


def print_study(study: Study) -> None:
    """Print what is to be read of a study, in the terminal's width and colour where there is one."""
    from rich.console import Console

    from ..reports.sheet_text import print_sheet

    if not sys.stdout.isatty():
        write_line(study.table())
        return
    print_sheet(study.sheet(), Console())
