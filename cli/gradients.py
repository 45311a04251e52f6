"""`iclprobe gradients`: gradient norms of each layer while finetuning goes through the demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    ChatTemplateOption,
    ColumnsOption,
    DataOption,
    DeviceOption,
    DtypeOption,
    LabelWordsOption,
    MaxRecordTokensOption,
    ModelOption,
    OverwriteOption,
    QuotingOption,
    SeparatorOption,
    TaskOption,
    TemplateOption,
    TokenizerOption,
    TrustOption,
    number_or_word,
    numbers,
    say,
    settings_from,
    task_values,
)


def gradients(
    model: ModelOption = None,
    tokenizer: TokenizerOption = None,
    trust_remote_code: TrustOption = False,
    task: TaskOption = None,
    data: DataOption = None,
    columns: ColumnsOption = None,
    template: TemplateOption = None,
    chat_template: ChatTemplateOption = None,
    label_words: LabelWordsOption = None,
    separator: SeparatorOption = None,
    quoting: QuotingOption = None,
    shots: Annotated[int, typer.Option(help="Demonstrations.")] = 32,
    seeds: Annotated[str, typer.Option(help="Draws of demonstrations.")] = "0",
    recipe: Annotated[
        str, typer.Option(help="Recipes side by side: presets or YAML files.")
    ] = "dai,barnatan_lcft",
    lr: Annotated[
        str | None, typer.Option(help="auto, published, or a number. [default: the recipes']")
    ] = None,
    parameters: Annotated[
        str, typer.Option(help="trained, or layer_all as in the reference's logs.")
    ] = "trained",
    reduction: Annotated[
        str, typer.Option(help="token_mean, or token_sum as in the reference's half-precision runs.")
    ] = "token_mean",
    accumulate: Annotated[
        bool,
        typer.Option(
            "--accumulate", help="Let gradients of untrained parameters pile up, as the reference does."
        ),
    ] = False,
    loss_scale: Annotated[float, typer.Option(help="A factor on the loss; the reference has 4.")] = 1.0,
    max_record_tokens: MaxRecordTokensOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a run directory: table, figure, every number.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Record how large each layer's gradient is at each step of finetuning (Bar Natan et al. Fig. 3)."""
    import json

    from ..analyses.gradients import GradientsConfig
    from ..analyses.gradients import gradients as run
    from ..analyses.plain_values import plain

    given: dict[str, Any] = {
        "model": model,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        "shots": shots,
        "seeds": numbers(seeds, "--seeds", int),
        "recipes": tuple(name.strip() for name in recipe.split(",")),
        "learning_rate": number_or_word(lr),
        "parameters": parameters,
        "reduction": reduction,
        "accumulate": accumulate,
        "loss_scale": loss_scale,
        "max_record_tokens": max_record_tokens,
        "device": device,
        "dtype": dtype,
    }
    study = run(settings_from(GradientsConfig, given, None, "gradients"), out=out, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(plain(study.results()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(study.table())
    if out is not None:
        say(f"wrote {out}")
