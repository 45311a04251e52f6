"""`iclprobe order` and `iclprobe outputs`: in-context learning beside several ways of finetuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    RevisionOption,
    SeparatorOption,
    TaskOption,
    TemplateOption,
    TokenizerOption,
    TrustOption,
    number_or_word,
    pairs,
    say,
    settings_from,
    task_values,
)

_Models = Annotated[str | None, typer.Option(help="Several models, one after another: pocket,pocket-small.")]
_Seeds = Annotated[str | None, typer.Option(help="Draws of demonstrations. [default: 0,1,2]")]
_Strict = Annotated[bool, typer.Option("--strict-shots", help="Refuse demonstrations that do not fit.")]
_Limit = Annotated[int | None, typer.Option(help="Queries at most. [default: 64]")]
_Rates = Annotated[
    str | None,
    typer.Option(help="auto, numbers for all arms (1e-3,1e-2), or by arm: 'GD=0.1;Adam=1e-4,1e-3'."),
]
_Candidates = Annotated[str | None, typer.Option(help="Rates that auto tries. [default: 1e-4,1e-3,…,10]")]
_Epochs = Annotated[int | None, typer.Option(help="Epochs, in place of the recipes'.")]
_Evaluate = Annotated[int | None, typer.Option("--every", help="Evaluate after every so many epochs.")]
_DrawLayers = Annotated[int | None, typer.Option(help="Layers drawn for deep and middle. [default: 4]")]
_Scoring = Annotated[str | None, typer.Option(help="Label words of several tokens: mean, sum or first.")]
_BatchSize = Annotated[str | None, typer.Option(help="Queries at once: auto or a number. [default: auto]")]


def order(
    model: ModelOption = None,
    models: _Models = None,
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
    seeds: _Seeds = None,
    balanced: BalancedOption = False,
    strict_shots: _Strict = False,
    limit: _Limit = None,
    max_record_tokens: MaxRecordTokensOption = None,
    orders: Annotated[int | None, typer.Option(help="Orders of the demonstrations. [default: 10]")] = None,
    arms: Annotated[
        str | None,
        typer.Option(help="Presets or YAML files. [default: shen and its variants, 8 epochs]"),
    ] = None,
    lr: _Rates = None,
    candidates: _Candidates = None,
    epochs: _Epochs = None,
    every: _Evaluate = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Batch sizes of SGD. [default: 1,2,4]")] = None,
    draw_layers: _DrawLayers = None,
    aggregate: Annotated[
        str | None, typer.Option(help="sum_std, sum_var, mean_std or l2. [default: sum_std]")
    ] = None,
    ddof: Annotated[int | None, typer.Option(help="0 population, 1 sample. [default: 0]")] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the K likeliest tokens. [default: all]")] = None,
    scoring: _Scoring = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: _BatchSize = None,
    config: ConfigOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure how much the order of demonstrations matters, in context and finetuned (Shen et al. section 4).

    Without options: the embedded pocket model on a pocket task, about two minutes on two cores.
    """
    from ..analyses.arms.order import order as run
    from ..analyses.arms.order_config import OrderConfig

    given = {
        "model": model,
        "models": _words(models),
        "revision": revision,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        "shots": shots,
        "seeds": seeds,
        "balanced": balanced or None,
        "strict_shots": strict_shots or None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "orders": orders,
        "arms": _words(arms),
        "learning_rates": _rates(lr),
        "candidates": candidates,
        "epochs": epochs,
        "evaluation_epochs": every,
        "batch_sizes": batch_sizes,
        "draw_layers": draw_layers,
        "aggregate": aggregate,
        "ddof": ddof,
        "top_k": top_k,
        "scoring": scoring,
        "device": device,
        "dtype": dtype,
        "batch_size": number_or_word(batch_size),
    }
    _run(OrderConfig, run, given, config, out, overwrite)


def outputs(
    model: ModelOption = None,
    models: _Models = None,
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
    shots: Annotated[str | None, typer.Option(help="Numbers of demonstrations. [default: 1,2,4,8]")] = None,
    seeds: _Seeds = None,
    balanced: BalancedOption = False,
    strict_shots: _Strict = False,
    limit: _Limit = None,
    max_record_tokens: MaxRecordTokensOption = None,
    arms: Annotated[
        str | None,
        typer.Option(help="Presets or YAML files. [default: shen,shen_deep,shen_middle, 60 epochs]"),
    ] = None,
    lr: _Rates = None,
    candidates: _Candidates = None,
    epochs: _Epochs = None,
    every: _Evaluate = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Batch sizes of SGD.")] = None,
    draw_layers: _DrawLayers = None,
    top_k: Annotated[int | None, typer.Option(help="Top tokens compared. [default: 10]")] = None,
    overlap_norm: Annotated[
        str | None,
        typer.Option(help="OCS: sqrt_k_minus_o, k_minus_o, none, topk_cosine. [default: the first]"),
    ] = None,
    icl_orders: Annotated[
        int | None, typer.Option(help="Other orders that ICL is compared with itself in. [default: 1]")
    ] = None,
    scoring: _Scoring = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: _BatchSize = None,
    config: ConfigOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare what finetuned models answer with what is answered in context (Shen et al. section 5).

    Without options: the embedded pocket model on a pocket task.
    """
    from ..analyses.arms.outputs import outputs as run
    from ..analyses.arms.outputs_config import OutputsConfig

    given = {
        "model": model,
        "models": _words(models),
        "revision": revision,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        "shots": shots,
        "seeds": seeds,
        "balanced": balanced or None,
        "strict_shots": strict_shots or None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "arms": _words(arms),
        "learning_rates": _rates(lr),
        "candidates": candidates,
        "epochs": epochs,
        "evaluation_epochs": every,
        "batch_sizes": batch_sizes,
        "draw_layers": draw_layers,
        "top_k": top_k,
        "overlap_norm": overlap_norm,
        "icl_orders": icl_orders,
        "scoring": scoring,
        "device": device,
        "dtype": dtype,
        "batch_size": number_or_word(batch_size),
    }
    _run(OutputsConfig, run, given, config, out, overwrite)


def _run(
    kind: Any, run: Any, given: dict[str, Any], config: Path | None, out: Path | None, overwrite: bool
) -> None:
    from ..study.run_directory import free_run_name

    settings = settings_from(kind, given, config, kind.analysis)
    folder = out if out is not None else Path("runs") / free_run_name(*settings.run_name)
    result = run(settings, out=folder, overwrite=overwrite)
    typer.echo(result.table())
    say(f"wrote {folder}")


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(","))


def _rates(text: str | None) -> Any:
    """Read ``auto``, numbers, or ``ARM=numbers;ARM=numbers``."""
    if text is None or "=" not in text:
        return text
    return pairs(text, "--lr", "'GD=0.1;Adam=1e-4,1e-3'", between=";")
