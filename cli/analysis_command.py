"""One command an analysis, made from its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import UserError, shown
from ..settings import make_config
from ..study.analysis import Analysis, there
from ..yaml_text import read_yaml
from .field_options import FieldOption, given_values, hidden_fields, option_names, options_of
from .output import let_libraries_speak, say, write_line
from .quick_imports import without_collections

_ASKED_ALIKE = (
    click.Option(["--config"], type=str, metavar="FILE", help="A YAML file of fields; options override it."),
    click.Option(
        ["--json", "as_json"],
        is_flag=True,
        help="Print tables, findings and provenance as JSON; write nothing unasked.",
    ),
    click.Option(["--out"], type=str, metavar="FOLDER", help="The run directory. [default: runs/…]"),
    click.Option(["--overwrite"], is_flag=True, help="Replace a finished run directory."),
    click.Option(["--no-page"], is_flag=True, help="Write no page into the run directory."),
    click.Option(["--quiet", "-q"], is_flag=True, help="Say nothing but the result."),
    click.Option(
        ["--verbose", "-v"],
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, param, asked: let_libraries_speak() if asked else None,
        help="Let libraries speak, too.",
    ),
)


class AnalysisCommand(click.Command):
    """The command of an analysis; its options are made when they are asked for, for they need its configuration."""

    def __init__(self, analysis: Analysis, *more: click.Option) -> None:
        """Make it from what an analysis declares, and options of its own."""
        self.analysis = analysis
        self.fields = list(options_of(analysis.config))
        only = hidden_fields(analysis.config)
        told = f"\n\nOnly --config says: {', '.join(only)}." if only else ""
        super().__init__(
            analysis.command,
            params=[*self._arguments(), *(field.option() for field in self.fields), *more, *_ASKED_ALIKE],
            help=analysis.summary + told,
            short_help=analysis.summary,
            callback=self.run,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def _arguments(self) -> list[click.Argument]:
        return [
            click.Argument(
                [f"{field.parameter}_argument"],
                nargs=-1 if field.holds_several else 1,
                required=False,
                type=str,
                metavar=f"[{field.place[-1].upper()}]{'…' if field.holds_several else ''}",
            )
            for field in self.fields
            if field.declared.argument
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; a spelling that there was before says the new one."""
        for arg in args:
            new = _OLD_SPELLINGS.get(arg.partition("=")[0])
            if new is not None and not any(arg.partition("=")[0] in field.names for field in self.fields):
                raise UserError(
                    f"{arg.partition('=')[0]} is now {new}: type that (see iclprobe {self.name} --help)"
                )
        self._refuse_two_names(args)
        return super().parse_args(ctx, args)

    def _refuse_two_names(self, args: list[str]) -> None:
        typed = {arg.partition("=")[0] for arg in args}
        if typed & {"-q", "--quiet"} and typed & {"-v", "--verbose"}:
            raise UserError("-q and -v say the opposite: give one of them")
        for field in self.fields:
            both = [name for name in field.names if name in typed]
            if len(both) > 1:
                raise UserError(f"{' and '.join(both)} say the same: give one of them")

    def run(self, **typed: Any) -> None:
        """Run the analysis, print its study and write its run directory."""
        from ..progress import quiet_progress
        from ..study.run_directory import free_run_name

        config = self.resolved(typed)
        with without_collections():
            from ..analyses.runner import run_analysis

            there(self.analysis.measure)
        out, quiet = typed["out"], typed["quiet"]
        if out is None and not typed["as_json"]:
            out = str(Path("runs") / free_run_name(*config.run_name))
        with quiet_progress(quiet):
            study = run_analysis(
                self.analysis,
                config,
                out=out,
                overwrite=typed["overwrite"],
                page=not typed["no_page"],
                say=None if quiet else say,
            )
        if typed["as_json"]:
            write_line(json.dumps(study.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            from .output import print_study

            print_study(study)
        if out is not None and not quiet:
            say(f"wrote {out}")

    def resolved(self, typed: Mapping[str, Any]) -> Any:
        """Return the configuration that a file and options over it give.

        Args:
            typed: What click read, by parameter.

        Raises:
            UserError: If the file cannot be read or a value is impossible; it names the option or the key.
        """
        texts = {**typed, **self._from_arguments(typed)}
        file = texts.get("config")
        source = self.analysis.command if file is None else shown(file)
        read = {} if file is None else config_values(file, self.analysis)
        given = given_values(self.fields, texts)
        for name, value in given.items():
            earlier = read.get(name)
            if isinstance(value, dict) and isinstance(earlier, dict) and _is_within(name, self.fields):
                given[name] = {**earlier, **value}
        return make_config(self.analysis.config, {**read, **given}, source, option_names(self.fields, texts))

    def _from_arguments(self, typed: Mapping[str, Any]) -> dict[str, str]:
        """Return what stands without an option's name, as the option's text would be."""
        found = {}
        for field in self.fields:
            values = typed.get(f"{field.parameter}_argument") or ()
            if not values:
                continue
            if typed.get(field.parameter) is not None:
                raise UserError(f"{field.names[0]} is given with and without its name: keep one of them")
            found[field.parameter] = ",".join(values) if isinstance(values, tuple) else values
        return found


def config_values(file: str, analysis: Analysis) -> dict[str, Any]:
    """Return the fields that a YAML file gives, which is a run's ``config.yaml`` or one's own.

    Raises:
        UserError: If it cannot be read, or is another analysis's.
    """
    values = read_yaml(file, "configuration", "shots: 8")
    named = values.pop("analysis", analysis.name)
    if named != analysis.name:
        raise UserError(
            f"{shown(file)} is for the analysis {shown(named)}, not {analysis.name}: run iclprobe {named}"
        )
    return values


def _is_within(name: str, fields: list[FieldOption]) -> bool:
    return any(field.place[0] == name and len(field.place) > 1 for field in fields)


# What options were called before, and what says the same now.
_OLD_SPELLINGS = {
    "--all-demonstrations": "--match-demonstrations false",
    "--no-stable-rank": "--stable-rank false",
    "--every": "--evaluation-epochs",
    "--no-model": "--model none",
}
