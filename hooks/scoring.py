"""How label words of several tokens are scored: by the mean or the sum over their tokens, or the first alone."""

from __future__ import annotations

from typing import Literal

Scoring = Literal["mean", "sum", "first"]
