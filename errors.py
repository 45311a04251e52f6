"""The one exception that means: the input cannot be used, and here is what to do about it."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for, told in one sentence with the offending input and the next step.

    The command line prints it without a traceback and exits with code 2.
    """


def reason_of(error: BaseException, longest: int = 160) -> str:
    """Return what a library says of its error, on one line and no longer than fits into a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[:longest].rstrip()}…"
