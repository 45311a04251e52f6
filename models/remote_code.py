"""Code that comes with a checkpoint: it runs only when asked for, and its refusal is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError


@contextmanager
def refusing_code(what: str, place: str) -> Iterator[None]:
    """Turn transformers' refusal to run a checkpoint's own code into one sentence.

    Args:
        what: What is loaded: a model, a tokenizer.
        place: Where from.

    Raises:
        UserError: If it needs code of its own, which was not asked for.
    """
    try:
        yield
    except ValueError as error:
        # Its message names the argument whatever else it says, and its other words are wrong for tokenizers.
        if isinstance(error, UserError) or "trust_remote_code" not in str(error):
            raise
        raise needs_code(what, place) from error


def needs_code(what: str, place: str) -> UserError:
    """Return the refusal of a model or tokenizer that comes with code of its own."""
    return UserError(
        f"{what} {place!r} comes with code of its own, and none of it was run: if you trust it, give "
        "trust_remote_code=True (--trust-remote-code)"
    )
