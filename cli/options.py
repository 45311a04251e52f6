"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..addresses import public
from ..errors import UserError, shown
from ..settings import Kind, make_config
from ..yaml_text import read_yaml

ModelOption = Annotated[str | None, typer.Option(help="Hub id, directory, or pocket. [default: pocket]")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0 … [default: the GPU if any]")]
DtypeOption = Annotated[
    str | None, typer.Option(help="auto, float32, float16, bfloat16. [default: the checkpoint's on a GPU]")
]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag, commit, or pocket's step.")]
TokenizerOption = Annotated[
    str | None, typer.Option(help="Where the tokenizer is. [default: where the model is]")
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model or its tokenizer.")
]
TaskOption = Annotated[str | None, typer.Option(help="A task; see `iclprobe tasks`.")]
DataOption = Annotated[
    str | None, typer.Option(help="Records: a folder with train and validation, or a file.")
]
ColumnsOption = Annotated[
    str | None, typer.Option(help="How columns map to fields: sentence=text,gold=label.")
]
ChatTemplateOption = Annotated[
    str | None, typer.Option(help="off, or user_turn: prompts as one turn of a chat. [default: off]")
]
TemplateOption = Annotated[
    str | None,
    typer.Option(help="dai, shen, or a text with {fields}; \\n and \\t are a line break and a tab."),
]
LabelWordsOption = Annotated[
    str | None,
    typer.Option(help="Label words in label order, bad,good, or by the data's values, 1=bad,5=good."),
]
SeparatorOption = Annotated[
    str | None,
    typer.Option(help="What stands between demonstrations; \\n and \\t are a line break and a tab."),
]
QuotingOption = Annotated[
    str | None,
    typer.Option(
        help="Quotation marks in CSV and TSV: none (text), minimal (around fields). [default: auto]"
    ),
]
BalancedOption = Annotated[bool, typer.Option("--balanced", help="Draw evenly from every label.")]
MaxRecordTokensOption = Annotated[int | None, typer.Option(help="Leave out longer records.")]
RateOption = Annotated[str | None, typer.Option(help="auto, published, or a number. [default: the recipe's]")]
ConfigOption = Annotated[Path | None, typer.Option(help="A config.yaml; options override it.")]
OutOption = Annotated[Path | None, typer.Option(help="The run directory. [default: runs/…]")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a finished run directory.")]


def task_values(
    task: str | None,
    data: str | None,
    columns: str | None,
    template: str | None,
    label_words: str | None,
    separator: str | None,
    quoting: str | None,
) -> dict[str, Any]:
    """Return what the options say about a task, as fields of a configuration."""
    return {
        "task": task,
        "data": data,
        "columns": pairs(columns, "--columns", "sentence=text,gold=label"),
        "template": typed(template),
        "label_words": label_words,
        "separator": typed(separator),
        "quoting": quoting,
    }


def typed(text: str | None) -> str | None:
    r"""Return a text with the line breaks and tabs that were typed as ``\n`` and ``\t``; ``\\`` is a backslash."""
    characters = {"n": "\n", "t": "\t", "\\": "\\"}
    return None if text is None else re.sub(r"\\([nt\\])", lambda found: characters[found[1]], text)


def pairs(text: str | None, option: str, example: str, between: str = ",") -> dict[str, str] | None:
    """Read ``a=b,c=d``; other text is refused with the option's name and an example."""
    if text is None:
        return None
    found = [part.split("=") for part in text.split(between)]
    if any(len(pair) != 2 for pair in found):
        raise UserError(f"{option} {shown(text)} is not of the form {example}")
    read: dict[str, str] = {}
    for key, value in ((key.strip(), value.strip()) for key, value in found):
        if key in read:
            raise UserError(f"{option} names {shown(key)} twice: keep one of them")
        read[key] = value
    return read


def numbers(text: str | None, option: str, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    """Read ``1,2,3``; other text is refused with the option's name."""
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} {shown(text)} is no list of numbers such as 0,1,2") from error


def number_or_word(text: str | None) -> Any:
    """Read a number where there is one, and leave other text as it is."""
    if text is None:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_config(path: Path | None) -> dict[str, Any]:
    """Read the keys and values of a YAML file; no file has none."""
    return {} if path is None else read_yaml(path, "configuration", "shots: 8")


def present(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that options were given for."""
    return {name: value for name, value in given.items() if value is not None}


def with_plan(values: dict[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in which a capture plan has what options say of it."""
    changes, earlier = present(plan), values.get("plan")
    if not changes or not isinstance(earlier, dict | None):
        return values
    return {**values, "plan": {**(earlier or {}), **changes}}


def options_of(*given: Mapping[str, Any], **named: str) -> dict[str, str]:
    """Return what the command line calls the fields that options were given for.

    Args:
        given: Fields and their values; None was not given.
        named: Fields whose option has another name here than elsewhere.
    """
    fields = [name for part in given for name in present(part)]
    names = {**_OTHER_NAMES, **named}
    return {name: names.get(name, f"--{name.replace('_', '-')}") for name in fields}


_OTHER_NAMES = {
    "learning_rate": "--lr",
    "learning_rates": "--lr",
    "recipes": "--recipe",
    "evaluation_epochs": "--every",
    "positions": "--position",
    "thresholds": "--threshold",
    "match_demonstrations": "--all-demonstrations",
}


def settings_from(
    kind: type[Kind], given: Mapping[str, Any], config: Path | None, source: str, **named: str
) -> Kind:
    """Return the configuration that a file and options over it give.

    Args:
        kind: Its class.
        given: Fields and the values of their options; None was not given.
        config: The file, if there is one.
        source: What the command is called.
        named: Fields whose option has another name here than elsewhere.

    Raises:
        UserError: If the file cannot be read or a value is impossible; it names the option or the key.
    """
    values = {**read_config(config), **present(given)}
    return make_config(kind, values, shown(config) if config else source, options_of(given, **named))


def say(line: str) -> None:
    """Tell something beside the results, without the secrets of addresses."""
    typer.echo(public(line), err=True)
