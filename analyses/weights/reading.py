"""What an analysis of attention weights refuses."""

from __future__ import annotations

from ...errors import UserError, shown


def require_defined(undefined: int, entries: int, name: str, place: str, allowed: bool) -> None:
    """Refuse a tensor with NaN or infinite entries unless they may be left out.

    Raises:
        UserError: It names the tensor and the checkpoint, and says how many entries are undefined.
    """
    if undefined and (not allowed or undefined == entries):
        raise UserError(
            f"{undefined} of the {entries} entries of {name} in {shown(place)} are NaN or infinite: the checkpoint "
            "is broken or its training diverged; leave them out, counted, with --allow-undefined"
        )
