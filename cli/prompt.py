"""`iclprobe prompt`: what a model is sent, token by token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from ..analyses.prompt_config import PromptConfig
from ..errors import shown
from ..settings import make_config
from ..study.analysis import registered_analyses
from ..yaml_text import read_yaml
from .field_options import given_values, option_names, options_of
from .output import write_line

# What concerns no prompt, though every configuration of an experiment has it.
_BESIDE = {"adapter", "device", "dtype", "batch_size", "scoring", "held_out", "match_demonstrations"}
_FIELDS = [field for field in options_of(PromptConfig) if field.place[0] not in _BESIDE]


def _show(**typed: Any) -> None:
    from ..analyses.prompt import show_prompt
    from ..study.plain_values import plain

    view = show_prompt(_resolved(typed))
    if typed["as_json"]:
        write_line(json.dumps(plain(view.to_dict()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        write_line(view.table())


def _resolved(typed: Mapping[str, Any]) -> PromptConfig:
    file = typed["config"]
    values = {} if file is None else read_yaml(file, "configuration", "shots: 8")
    others = {name for each in registered_analyses().values() for name in each.config.model_fields}
    beside = (others | {"analysis"}) - set(PromptConfig.model_fields)
    read = {name: value for name, value in values.items() if name not in beside}
    source = "prompt" if file is None else shown(file)
    given = given_values(_FIELDS, typed)
    return make_config(PromptConfig, {**read, **given}, source, option_names(_FIELDS, typed))


prompt = click.Command(
    "prompt",
    params=[
        *(field.option() for field in _FIELDS),
        click.Option(["--json", "as_json"], is_flag=True, help="Print it as JSON, token ids included."),
        click.Option(["--config"], metavar="FILE", help="A config.yaml of any command; options override it."),
    ],
    callback=_show,
    help="Show the zero-shot and the in-context prompt of one query as every command sends them, token by token. "
    "No weights are loaded. A config.yaml of another command serves too: what concerns no prompt is left aside.",
)
