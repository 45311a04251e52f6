"""The command line: parse, call an analysis, print, write the report."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import UserError

app = typer.Typer(
    help="Does a language model change inside the same way in context as when it is finetuned?",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_Model = Annotated[str | None, typer.Option(help="Hub id, directory, or pocket. [default: pocket]")]
_Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0 … [default: the GPU if any]")]
_Dtype = Annotated[
    str | None, typer.Option(help="auto, float32, float16, bfloat16. [default: the checkpoint's on a GPU]")
]


@app.callback()
def _root() -> None:
    """Does a language model change inside the same way in context as when it is finetuned?"""


@app.command()
def compare(
    model: _Model = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag, commit, or pocket's step.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter to merge into the model first.")] = None,
    task: Annotated[str | None, typer.Option(help="A task; see `iclprobe tasks`.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Records: a folder with train and validation, or a file.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="How columns map to fields: sentence=text,gold=label.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="dai, shen, or a text with {fields}.")] = None,
    label_words: Annotated[str | None, typer.Option(help="Label words in label order: bad,good.")] = None,
    separator: Annotated[str | None, typer.Option(help="What stands between demonstrations.")] = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations. [default: 8]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw of demonstrations. [default: 0]")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several draws: 0,1,2.")] = None,
    order: Annotated[int | None, typer.Option(help="Seed of another order of the demonstrations.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Draw evenly from every label.")] = False,
    strict_shots: Annotated[
        bool, typer.Option("--strict-shots", help="Refuse to leave out demonstrations that do not fit.")
    ] = False,
    all_demonstrations: Annotated[
        bool,
        typer.Option("--all-demonstrations", help="Finetune also on demonstrations that did not fit."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Queries at most. [default: all]")] = None,
    max_record_tokens: Annotated[int | None, typer.Option(help="Leave out longer records.")] = None,
    recipe: Annotated[str | None, typer.Option(help="dai, shen, or a YAML file. [default: dai]")] = None,
    lr: Annotated[
        str | None, typer.Option(help="auto, published, or a number. [default: the recipe's]")
    ] = None,
    finetuned: Annotated[
        str | None, typer.Option(help="A finetuned model or adapter, in place of a recipe.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Layers: 0,5,-1 or 8:16. [default: all]")] = None,
    position: Annotated[
        str | None, typer.Option(help="last_prompt_token or first_label_token (as the reference code).")
    ] = None,
    score_space: Annotated[
        str | None, typer.Option(help="softmax_input, raw, scaled or softcapped. [default: softmax_input]")
    ] = None,
    score_variant: Annotated[
        str | None, typer.Option(help="SimAM: raw, delta, centered or softmax. [default: raw]")
    ] = None,
    agreement: Annotated[
        str | None, typer.Option(help="Shared changes: same_label or changed. [default: same_label]")
    ] = None,
    scoring: Annotated[
        str | None, typer.Option(help="Label words of several tokens: mean, sum or first. [default: mean]")
    ] = None,
    device: _Device = None,
    dtype: _Dtype = None,
    batch_size: Annotated[str | None, typer.Option(help="auto or a number. [default: auto]")] = None,
    save_captures: Annotated[
        bool, typer.Option("--save-captures", help="Keep the recorded arrays in the run directory.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A config.yaml; options override it.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory. [default: runs/…]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished run directory.")] = False,
) -> None:
    """Run a task zero-shot, in context and finetuned on the same demonstrations, and compare the three.

    Without options: the embedded pocket model on a pocket task.
    """
    from .analyses.comparison import compare as run
    from .analyses.configuration import CompareConfig, make_config
    from .analyses.run_directory import default_run_name

    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds exclude each other: give one of them")
    plan = {"layers": layers, "positions": position, "score_space": score_space}
    given: dict[str, Any] = {
        "model": model,
        "revision": revision,
        "adapter": adapter,
        "task": task,
        "data": data,
        "columns": _pairs(columns),
        "template": template,
        "label_words": None if label_words is None else [word.strip() for word in label_words.split(",")],
        "separator": separator,
        "shots": shots,
        "seeds": seeds if seeds is not None else seed,
        "order": order,
        "balanced": balanced or None,
        "strict_shots": strict_shots or None,
        "match_demonstrations": False if all_demonstrations else None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "recipe": recipe,
        "learning_rate": _number_or_word(lr),
        "finetuned": finetuned,
        "score_variant": score_variant,
        "agreement": agreement,
        "scoring": scoring,
        "device": device,
        "dtype": dtype,
        "batch_size": _number_or_word(batch_size),
        "save_captures": save_captures or None,
    }
    values = {**_read_config(config), **{name: value for name, value in given.items() if value is not None}}
    changes = {name: value for name, value in plan.items() if value is not None}
    if changes:
        values["plan"] = {**(values.get("plan") or {}), **changes}
    settings = make_config(CompareConfig, values, str(config) if config else "compare")
    folder = out if out is not None else Path("runs") / default_run_name(settings)
    result = run(settings, out=folder, overwrite=overwrite, say=_say)
    typer.echo(result.table())
    typer.echo(f"\nwrote {folder}")


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="Hub id, directory, or pocket.")] = "pocket",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    device: _Device = None,
    dtype: _Dtype = None,
    attention: Annotated[str | None, typer.Option(help="Attention implementation: sdpa, eager …")] = None,
) -> None:
    """Check on a model that what is recorded is what the model does."""
    from .hooks.self_check import self_check
    from .models.loading import load_model

    loaded = load_model(
        model, revision=revision, device=device or "auto", dtype=dtype or "auto", attention=attention
    )
    result = self_check(loaded)
    for line in result.lines():
        typer.echo(line)
    if not result.held:
        raise typer.Exit(1)


@app.command()
def tasks() -> None:
    """List the tasks of the catalogue."""
    from .tasks.catalogue import task_entry, task_names

    for name in task_names():
        entry = task_entry(name)
        variants = ", ".join(entry.variants)
        typer.echo(f"{name:20} {len(entry.label_names)} labels; {variants:10} {entry.description}")


@app.command()
def families() -> None:
    """List the model families of the table."""
    from .models.families import family_names

    typer.echo("\n".join(family_names()))


def _pairs(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    pairs = [part.split("=") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"--columns {text!r} is not of the form sentence=text,gold=label")
    return {column.strip(): name.strip() for column, name in pairs}


def _number_or_word(text: str | None) -> Any:
    if text is None:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read configuration {str(path)!r}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"configuration {str(path)!r} holds no keys and values")
    return content


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _quiet_libraries() -> None:
    """Let transformers speak of errors only, and warnings be one line each."""
    import os

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for what a user can mend, told in one sentence."""
    _quiet_libraries()
    try:
        code = app(args=arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UserError as error:
        _say(f"iclprobe: {error}")
        return 2
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        usage = _usage_error(error)
        if usage is None:
            raise
        _say(usage)
        return 2


def _usage_error(error: Exception) -> str | None:
    """Return click's message for a mistake on the command line, else None."""
    show = getattr(error, "format_message", None)
    return f"iclprobe: {show()} (see --help)" if show is not None else None


if __name__ == "__main__":
    sys.exit(main())
