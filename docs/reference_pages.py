"""The reference, from the code: functions, configurations, tables, families and commands, each a page of Markdown.

Nothing here is written twice: a public name, a field, a column or a row that is added to the code is on its page.
Functions are left to mkdocstrings, which reads their docstrings when the site is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from pydantic import BaseModel

import iclprobe
from iclprobe import probes
from iclprobe.analyses.prompt_config import PromptConfig
from iclprobe.cli.analysis_command import AnalysisCommand
from iclprobe.cli.commands import iclprobe as command_line
from iclprobe.cli.field_options import hidden_fields, options_of
from iclprobe.models.families import _FAMILIES
from iclprobe.models.family import Family
from iclprobe.study.analysis import Analysis, Needs, registered_analyses
from iclprobe.study.columns import FACTS, Table
from iclprobe.study.finding import FINDINGS

_NEEDED: Mapping[Needs, str] = {
    "model and task": "a model and a task",
    "models and task": "models, one after another, and a task",
    "checkpoints": "checkpoints, of which no model is made",
    "nothing": "what it makes itself, or finds on the disk",
}
# What stands on each page of functions, by the room of the package that the name comes from.
_ROOMS = {
    "analyses": ("Analyses", "Each runs from Python, YAML and the command line alike and returns a study."),
    "study": ("Studies", "What an analysis leaves, how it is loaded again, and what makes an analysis."),
    "sweeps": ("Sweeps", "A grid of cells, each computed once, and many experiments of the papers."),
    "hooks": ("Capture", "What is recorded of a forward, and what proves it."),
    "models": ("Models", "Loading, finetuning, taking back, and weights without a model."),
    "tasks": ("Tasks", "Records, demonstrations and prompts."),
    "errors": ("Errors", "What is raised for whatever a user can mend."),
}


def reference_pages() -> dict[str, str]:
    """Return every page of the reference by its path in the site."""
    rooms = {f"reference/{room}.md": functions_page(room) for room in _ROOMS}
    return rooms | {
        "reference/probes.md": probes_page(),
        "reference/configurations.md": configurations_page(),
        "reference/tables.md": tables_page(),
        "reference/families.md": families_page(),
        "reference/commands.md": commands_page(),
    }


def functions_page(room: str) -> str:
    """Return the page of the public names that come from one room of the package."""
    title, meaning = _ROOMS[room]
    names = [name for name in iclprobe.__all__ if _room(name) == room and not name.endswith("Config")]
    lines = [f"# {title}", "", meaning, ""]
    if room == "analyses":
        lines += ["What each can be asked is on the page of [configurations](configurations.md).", ""]
    for name in sorted(names, key=lambda name: (name[0].isupper(), name)):
        lines += [f"::: iclprobe.{name}", ""]
    return "\n".join(lines)


def probes_page() -> str:
    """Return the page of the measures."""
    lines = ["# Probes", "", "`from iclprobe.probes import …`: tensors in, frozen results out.", ""]
    for name in sorted(probes.__all__, key=lambda name: (name[0].isupper(), name)):
        lines += [f"::: iclprobe.probes.{name}", ""]
    return "\n".join(lines)


def configurations_page() -> str:
    """Return the page of all configurations: every field with its option, its default and what it is."""
    return "\n".join(_configurations()) + "\n"


def tables_page() -> str:
    """Return the page of every table of every analysis, with what each column is, its unit and its source."""
    return "\n".join(_tables()) + "\n"


def families_page() -> str:
    """Return the page of the table of families."""
    lines = [
        "# Families",
        "",
        f"The {len(_FAMILIES)} model types that have a row; `iclprobe families --all` says what becomes of every "
        "other causal type of the installed transformers. [A family](../how-to/family.md) tells how to add one.",
        "",
        *_grid(
            ("type", "layers", "attention", "output projection", "W_Q, W_K, W_V", "rows", "read at"),
            (_family_cells(_FAMILIES[name]) for name in sorted(_FAMILIES)),
        ),
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of the commands: those of analyses in a table, the others with their help."""
    context = click.Context(command_line, info_name="iclprobe")
    commands = {name: command_line.get_command(context, name) for name in command_line.list_commands(context)}
    analyses = {name: each.analysis for name, each in commands.items() if isinstance(each, AnalysisCommand)}
    lines = [
        "# Commands",
        "",
        "Every analysis is a command whose options are the fields of its [configuration](configurations.md), beside "
        "`--config FILE`, `--out FOLDER`, `--overwrite`, `--json`, `-q` and `-v`.",
        "",
        *_grid(("command", "what it does"), ((f"`iclprobe {n}`", a.summary) for n, a in analyses.items())),
    ]
    for name, command in commands.items():
        if name in analyses or command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context, terminal_width=88)
        lines += ["", f"## {name}", "", "```text", command.get_help(inner), "```"]
    return "\n".join(lines) + "\n"


def _room(name: str) -> str:
    return iclprobe._PLACES[name].split(".")[0]


def _configurations() -> Iterator[str]:
    from iclprobe import CapturePlan, Recipe, SweepConfig
    from iclprobe.sweeps.config import Resources

    yield "# Configurations"
    yield ""
    yield "A field has one name in Python, in YAML and on the command line. Each section lists what a configuration"
    yield "adds to the one that it extends. Where a cell for the option is empty, YAML and Python alone can say it."
    known: list[type[BaseModel]] = []
    configs = [analysis.config for analysis in registered_analyses().values()]
    for config in (*configs, PromptConfig, CapturePlan, Recipe, SweepConfig, Resources):
        for kind in reversed(config.__mro__):
            if (
                isinstance(kind, type)
                and issubclass(kind, BaseModel)
                and kind.model_fields
                and kind not in known
            ):
                known.append(kind)
                yield from _configuration(kind)


def _configuration(kind: type[BaseModel]) -> Iterator[str]:
    base = next((each for each in kind.__mro__[1:] if getattr(each, "model_fields", None)), None)
    inherited: Mapping[str, Any] = base.model_fields if base is not None else {}
    options = {option.place[0]: option for option in options_of(kind) if len(option.place) == 1}
    nested = {option.place[0] for option in options_of(kind) if len(option.place) > 1}
    hidden = set(hidden_fields(kind))
    from iclprobe.cli.field_options import helps_of

    helps, rows = helps_of(kind), []
    for name, field in kind.model_fields.items():
        known = inherited.get(name)
        if known is not None and (known.default, known.annotation) == (field.default, field.annotation):
            continue
        option = options.get(name)
        asked = "" if option is None or name in hidden else " ".join(f"`{each}`" for each in option.names)
        default = "required" if field.is_required() else f"`{_default(field.default)}`"
        rows.append((f"`{name}`", "its fields" if name in nested else asked, default, helps.get(name, "")))
    yield ""
    yield f"## {kind.__name__}"
    yield ""
    yield " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    if base is not None:
        yield f"It extends [{base.__name__}](#{base.__name__.lower()})."
    if rows:
        yield ""
        yield from _grid(("field", "option", "default", "what it is"), rows)


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return f"{type(value).__name__}()"
    if isinstance(value, Mapping) and value:
        return ", ".join(map(str, value))
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _tables() -> Iterator[str]:
    yield "# Tables"
    yield ""
    yield "What every study holds, by analysis; a run directory has each as `tables/NAME.parquet` and as CSV."
    yield "An *integer* may be missing; a *number* that is undefined is NaN."
    yield ""
    yield "## Every analysis"
    yield from _table(FACTS, "")
    yield from _table(FINDINGS, "")
    for analysis in registered_analyses().values():
        yield from _analysis(analysis)


def _analysis(analysis: Analysis) -> Iterator[str]:
    yield ""
    yield f"## {analysis.name}"
    yield ""
    yield f"{analysis.summary} It runs on {_NEEDED[analysis.needs]}."
    for table in analysis.tables:
        yield from _table(table, analysis.name)


def _table(table: Table, analysis: str) -> Iterator[str]:
    anchor = f" {{ #{analysis}-{table.name} }}" if analysis else ""
    yield ""
    yield f"### {table.name}{anchor}"
    yield ""
    yield f"One row is {table.meaning}."
    yield ""
    yield from _grid(
        ("column", "kind", "unit", "what it is", "source"),
        ((f"`{each.name}`", each.kind, each.unit, each.meaning, each.source) for each in table.columns),
    )


def _family_cells(family: Family) -> tuple[str, ...]:
    layout = family.layout if isinstance(family.layout, str) else "by configuration"
    kinds = [layout, *(["transposed"] if family.transposed else []), *(["hybrid"] if family.hybrid else [])]
    route = "the registry" if family.route == "registry" else "the softmax"
    projections = ", ".join(f"`{name.replace('|', '` or `')}`" for name in family.projections)
    return (
        f"`{family.name}`",
        f"`{family.layers[0]}`",
        f"`{family.attention}`",
        f"`{family.output_projection}`",
        projections,
        ", ".join(kinds),
        route,
    )


def _grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    columns = list(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
