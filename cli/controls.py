"""`iclprobe controls`: a comparison, and what is left of it when one thing is taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import shown
from ..settings import make_config
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
    options_of,
    present,
    read_config,
    say,
    task_values,
    with_plan,
)


def controls(
    model: ModelOption = None,
    revision: RevisionOption = None,
    tokenizer: TokenizerOption = None,
    trust_remote_code: TrustOption = False,
    task: TaskOption = None,
    data: DataOption = None,
    columns: ColumnsOption = None,
    template: TemplateOption = None,
    label_words: LabelWordsOption = None,
    separator: SeparatorOption = None,
    chat_template: ChatTemplateOption = None,
    quoting: QuotingOption = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations. [default: 8]")] = None,
    seeds: Annotated[str | None, typer.Option(help="Draws of demonstrations: 0,1,2. [default: 0]")] = None,
    balanced: BalancedOption = False,
    limit: Annotated[int | None, typer.Option(help="Queries at most. [default: all]")] = None,
    max_record_tokens: MaxRecordTokensOption = None,
    recipe: Annotated[
        str | None, typer.Option(help="dai, barnatan_lcft, shen, or a YAML file. [default: dai]")
    ] = None,
    lr: RateOption = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--controls",
            help="Some of none, untrained, permuted_labels, shuffled_prefix, other_task, random_update. "
            "[default: all]",
        ),
    ] = None,
    other_task: Annotated[
        str | None, typer.Option(help="Whose demonstrations stand in the context of other_task.")
    ] = None,
    other_data: Annotated[str | None, typer.Option(help="Records of the other task.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers: 0,5,-1 or 8:16. [default: all]")] = None,
    position: Annotated[
        str | None, typer.Option(help="last_prompt_token or first_label_token (as the reference code).")
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: Annotated[str | None, typer.Option(help="auto or a number. [default: auto]")] = None,
    config: ConfigOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare in-context learning with finetuning again under controls.

    An untrained model with the same embeddings, demonstrations with permuted labels, contexts of shuffled tokens
    and of another task, and a random update: what of the comparison is still there?
    """
    from ..analyses.controls.config import ControlsConfig
    from ..analyses.controls.study import controls as run
    from ..study.run_directory import free_run_name

    given: dict[str, Any] = {
        "model": model,
        "revision": revision,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        "shots": shots,
        "seeds": seeds,
        "balanced": balanced or None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "recipe": recipe,
        "learning_rate": number_or_word(lr),
        "controls": only,
        "other_task": other_task,
        "other_data": other_data,
        "device": device,
        "dtype": dtype,
        "batch_size": number_or_word(batch_size),
    }
    plan = {"layers": layers, "positions": position}
    values = with_plan({**read_config(config), **present(given)}, plan)
    source = shown(config) if config else "controls"
    settings = make_config(ControlsConfig, values, source, options_of(given, plan))
    folder = out or Path("runs") / free_run_name(*settings.run_name)
    result = run(settings, out=folder, overwrite=overwrite, say=say)
    typer.echo(result.table())
    typer.echo(f"\nwrote {folder}")
