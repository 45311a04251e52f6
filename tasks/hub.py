"""Rows of a dataset on the Hugging Face hub, through the optional `datasets` package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from ..errors import UserError, reason_of, shown


def read_hub_rows(hub_id: str, config: str | None, split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of one split, as mappings from column name to value.

    Args:
        hub_id: Dataset id, for example `nyu-mll/glue`, or the path of a local copy.
        config: Configuration, for example `sst2`, or None for datasets that have only one.
        split: Name of the split.

    Raises:
        UserError: When `datasets` is not installed, or the dataset cannot be had.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"Reading {hub_id} from the hub needs the datasets package: "
            "run pip install 'iclprobe[datasets]', or give a local copy with data=PATH."
        ) from error
    try:
        # Never runs code from the hub: datasets 4 and later load data files only.
        rows = datasets.load_dataset(hub_id, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        name = f"{hub_id} ({config})" if config else hub_id
        reason = reason_of(error, 80)
        raise UserError(
            f"The split {shown(split)} of {shown(name)} could not be read from the hub ({reason}): "
            "check the network and "
            "the name, or give a local copy with data=PATH."
        ) from error
    return cast("Iterable[Mapping[str, Any]]", rows)
