"""What was asked of a run, as the index shows it beside others."""

from __future__ import annotations

import json
from pathlib import Path

from ...yaml_text import read_yaml


def settings_of(folder: Path) -> dict[str, str]:
    """Return every setting of a run directory by its name, as text.

    Raises:
        UserError: If its configuration cannot be read.
    """
    values = read_yaml(folder / "config.yaml", "configuration", "shots: 8")
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in values.items()
    }
