"""What commands print: results on standard output, everything beside them on standard error."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from ..addresses import public

if TYPE_CHECKING:
    from ..study.study import Study


def say(line: str) -> None:
    """Tell something beside the results, without the secrets of addresses."""
    click.echo(public(line), err=True)


def let_libraries_speak() -> None:
    """Let transformers, the hub and whatever logs say what they are about."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "info"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"
    logging.basicConfig(level=logging.INFO)
    loaded = sys.modules.get("transformers")
    if loaded is not None:
        loaded.logging.set_verbosity_info()


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
