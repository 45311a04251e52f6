"""Imported by a server of commands: they know the tiny analyses."""

from __future__ import annotations

import iclprobe
from tiny_analysis import HUNGRY, TINY

iclprobe.register(TINY)
iclprobe.register(HUNGRY)
