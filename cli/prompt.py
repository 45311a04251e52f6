"""`iclprobe prompt`: what a model is sent, token by token."""

from __future__ import annotations

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
    LabelWordsOption,
    MaxRecordTokensOption,
    ModelOption,
    QuotingOption,
    RevisionOption,
    SeparatorOption,
    TaskOption,
    TemplateOption,
    TokenizerOption,
    TrustOption,
    options_of,
    present,
    read_config,
    task_values,
)


def prompt(
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
    quoting: QuotingOption = None,
    chat_template: ChatTemplateOption = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations. [default: 8]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw of demonstrations. [default: 0]")] = None,
    order: Annotated[int | None, typer.Option(help="Seed of another order of the demonstrations.")] = None,
    balanced: BalancedOption = False,
    strict_shots: Annotated[
        bool, typer.Option("--strict-shots", help="Refuse to leave out demonstrations that do not fit.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Queries at most. [default: all]")] = None,
    max_record_tokens: MaxRecordTokensOption = None,
    query: Annotated[
        int | None, typer.Option(help="The query_index of a query. [default: the first that is asked]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, token ids included.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show the zero-shot and the in-context prompt of one query as `compare` sends them, token by token.

    No weights are loaded. A config.yaml of another command serves too: what concerns no prompt is left aside.
    """
    import json

    from ..analyses.arms.order_config import OrderConfig
    from ..analyses.arms.outputs_config import OutputsConfig
    from ..analyses.configuration import CompareConfig, GridConfig
    from ..analyses.controls.config import ControlsConfig
    from ..analyses.gradients import GradientsConfig
    from ..analyses.plain_values import plain
    from ..analyses.prompt import show_prompt
    from ..analyses.prompt_config import PromptConfig

    given: dict[str, Any] = {
        "model": model,
        "revision": revision,
        "tokenizer": tokenizer,
        "trust_remote_code": trust_remote_code or None,
        **task_values(task, data, columns, template, label_words, separator, quoting),
        "chat_template": chat_template,
        "shots": shots,
        "seeds": seed,
        "order": order,
        "balanced": balanced or None,
        "strict_shots": strict_shots or None,
        "limit": limit,
        "max_record_tokens": max_record_tokens,
        "query": query,
    }
    others = (CompareConfig, GridConfig, ControlsConfig, OrderConfig, OutputsConfig, GradientsConfig)
    beside = {name for other in others for name in other.model_fields} - set(PromptConfig.model_fields)
    read = {name: value for name, value in read_config(config).items() if name not in beside}
    source = shown(config) if config else "prompt"
    options = options_of(given, seeds="--seed")
    view = show_prompt(make_config(PromptConfig, {**read, **present(given)}, source, options))
    if as_json:
        typer.echo(json.dumps(plain(view.to_dict()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(view.table())
