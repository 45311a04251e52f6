"""How to read what the tables of one comparison and of several share."""

from __future__ import annotations

CALIBRATED = (
    "calibrated: accuracy over the label set, each label's log-probability less its mean over the queries."
)
