"""The one exception that means: the input cannot be used, and here is what to do about it."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for, told in one sentence with the offending input and the next step.

    The command line prints it without a traceback and exits with code 2.
    """
