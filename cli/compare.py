"""`iclprobe compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError, shown
from ..settings import make_config
from ..text_files import is_file
from .options import (
    BalancedOption,
    ChatTemplateOption,
    ColumnsOption,
    ConfigOption,
    DataOption,
    DeviceOption,
    DtypeOption,
    LabelWordsOption,
    MaxRecordTokensOption,
    ModelOption,
    OutOption,
    OverwriteOption,
    QuotingOption,
    RateOption,
    RevisionOption,
    SeparatorOption,
    TaskOption,
    TemplateOption,
    TokenizerOption,
    TrustOption,
    number_or_word,
    numbers,
    options_of,
    present,
    read_config,
    say,
    task_values,
    with_plan,
)


def compare(
    model: ModelOption = None,
    revision: RevisionOption = None,
    tokenizer: TokenizerOption = None,
    trust_remote_code: TrustOption = False,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter to merge into the model first.")] = None,
    task: TaskOption = None,
    data: DataOption = None,
    columns: ColumnsOption = None,
    template: TemplateOption = None,
    label_words: LabelWordsOption = None,
    separator: SeparatorOption = None,
    chat_template: ChatTemplateOption = None,
    quoting: QuotingOption = None,
    shots: Annotated[
        str | None, typer.Option(help="Demonstrations; several numbers, 1,2,4, make a grid. [default: 8]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw of demonstrations. [default: 0]")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several draws: 0,1,2.")] = None,
    order: Annotated[int | None, typer.Option(help="Seed of another order of the demonstrations.")] = None,
    balanced: BalancedOption = False,
    strict_shots: Annotated[
        bool, typer.Option("--strict-shots", help="Refuse to leave out demonstrations that do not fit.")
    ] = False,
    all_demonstrations: Annotated[
        bool,
        typer.Option("--all-demonstrations", help="Finetune also on demonstrations that did not fit."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Queries at most. [default: all]")] = None,
    max_record_tokens: MaxRecordTokensOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="dai, barnatan_lcft, shen, or a YAML file; several, dai,barnatan_lcft, make a grid. "
            "[default: dai]"
        ),
    ] = None,
    lr: RateOption = None,
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
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: Annotated[str | None, typer.Option(help="auto or a number. [default: auto]")] = None,
    save_captures: Annotated[
        bool, typer.Option("--save-captures", help="Keep the recorded arrays in the run directory.")
    ] = False,
    config: ConfigOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a task zero-shot, in context and finetuned on the same demonstrations, and compare the three.

    Without options: the embedded pocket model on a pocket task. Several numbers of shots or several recipes make a
    grid: one comparison each, in one run directory.
    """
    from ..analyses.comparison.grid import compare_grid as run_grid
    from ..analyses.comparison.study import compare as run
    from ..analyses.configuration import CompareConfig, GridConfig
    from ..study.run_directory import free_run_name

    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds exclude each other: give one of them")
    plan = {"layers": layers, "positions": position, "score_space": score_space}
    given: dict[str, Any] = {
        "model": model,
        "revision": revision,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        "adapter": adapter,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "shots": numbers(shots, "--shots", int),
        "seeds": seeds if seeds is not None else seed,
        "order": order,
        "balanced": balanced or None,
        "strict_shots": strict_shots or None,
        "match_demonstrations": False if all_demonstrations else None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "recipe": recipe,
        "learning_rate": number_or_word(lr),
        "finetuned": finetuned,
        "score_variant": score_variant,
        "agreement": agreement,
        "scoring": scoring,
        "device": device,
        "dtype": dtype,
        "batch_size": number_or_word(batch_size),
        "save_captures": save_captures or None,
    }
    values = _grid_or_one(with_plan({**read_config(config), **present(given)}, plan), recipe)
    source = shown(config) if config else "compare"
    options = options_of(given, plan, seeds="--seed" if seeds is None else "--seeds", recipes="--recipe")
    folder = out
    if "recipes" in values:
        grid = make_config(GridConfig, values, source, options)
        folder = folder or Path("runs") / free_run_name(*grid.run_name)
        result = run_grid(grid, out=folder, overwrite=overwrite, say=say)
    else:
        settings = make_config(CompareConfig, values, source, options)
        folder = folder or Path("runs") / free_run_name(*settings.run_name)
        result = run(settings, out=folder, overwrite=overwrite, say=say)
    typer.echo(result.table())
    typer.echo(f"\nwrote {folder}")


def _grid_or_one(values: dict[str, Any], recipe: str | None) -> dict[str, Any]:
    """Return the values of a grid, which have ``recipes``, where several shots or recipes are asked for, else of one.

    Args:
        values: Those of the configuration file, and of the options over them.
        recipe: The option, which replaces the recipes of a configuration file.
    """
    values = dict(values)
    shots = values.get("shots")
    several_shots = isinstance(shots, list | tuple) and len(shots) != 1
    if isinstance(shots, list | tuple) and not several_shots:
        values["shots"] = shots[0]
    if recipe is not None:
        values.pop("recipes", None)
    several_recipes = recipe is not None and "," in recipe and not is_file(recipe)
    if not (several_shots or several_recipes or "recipes" in values):
        return values
    if values.pop("finetuned", None) is not None:
        raise UserError(
            "--finetuned gives one finetuned model, so it goes with one number of --shots and without several "
            "recipes"
        )
    one = values.pop("recipe", None)
    return {"recipes": "dai" if one is None else one, **values}
