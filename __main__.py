"""``python -m iclprobe``."""

import signal
import sys

from .cli import INTERRUPTED, main

code = main()
if code == INTERRUPTED and hasattr(signal, "pthread_sigmask"):
    # Where Ctrl-C came within an `exec`, as imports have it, Python would end this process by the signal once more.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
sys.exit(code)
