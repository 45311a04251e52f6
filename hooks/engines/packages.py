"""Packages that come with an extra: there, and within the bounds that the extra declares, or one sentence."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ...errors import UserError

_OURS = "iclprobe"


def require_package(extra: str) -> str:
    """Return the version of the package that an extra of the same name brings.

    The bounds are those of the installed ``iclprobe``'s own metadata. Nothing is imported.

    Args:
        extra: The extra, such as ``nnsight``.

    Raises:
        UserError: If the package is missing or of another version; it names the `pip install` that brings it.
    """
    wanted = _requirement(extra)
    bounds = wanted.specifier
    try:
        found = version(wanted.name)
    except PackageNotFoundError as error:
        raise UserError(
            f"{extra} needs the package {wanted.name} ({bounds}), which is not installed: pip install "
            f"'{_OURS}[{extra}]'"
        ) from error
    if not bounds.contains(found, prereleases=True):
        raise UserError(
            f"{extra} needs {wanted.name} {bounds} and {found} is installed: pip install '{_OURS}[{extra}]'"
        )
    return found


def _requirement(extra: str) -> Requirement:
    for text in requires(_OURS) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if requirement.name == extra and marker is not None and marker.evaluate({"extra": extra}):
            return requirement
    raise LookupError(f"{_OURS} declares no package for the extra {extra!r}")
