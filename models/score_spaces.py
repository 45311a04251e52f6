"""The spaces in which attention scores can be read: before or after scaling, softcap and position bias."""

from __future__ import annotations

from typing import Literal

ScoreSpace = Literal["softmax_input", "raw", "scaled", "softcapped"]
