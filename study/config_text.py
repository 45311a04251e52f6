"""A configuration as the YAML that gives it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .plain_values import plain

if TYPE_CHECKING:
    from pydantic import BaseModel


def config_text(analysis: str, config: BaseModel) -> str:
    """Return a configuration as the YAML that `iclprobe ANALYSIS --config` takes back."""
    import yaml

    values = {"analysis": analysis, **plain(config.model_dump())}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
