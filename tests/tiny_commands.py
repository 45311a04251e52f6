"""Imported by a server of commands: they know the tiny analyses."""

from __future__ import annotations

from tiny_analysis import HUNGRY, TINY

import iclprobe

iclprobe.register(TINY)
iclprobe.register(HUNGRY)
