"""Whether the cells of a sweep were computed alike: by one commit, the same packages, one kind of device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...study.finding import Finding
from ...study.loading import read_manifest
from ...study.sweep_folder import SweepCell, SweepFolder

_MOST_NAMED = 3


def origin_warnings(folder: SweepFolder, cells: Sequence[SweepCell]) -> Iterator[Finding]:
    """Yield a warning for each thing by which cells that are put together were computed differently.

    None of it makes another cell of one, for it should change no number beyond rounding; but it is told.

    Args:
        folder: The sweep.
        cells: Those that are done.
    """
    found: dict[str, dict[str, None]] = {}
    for cell in {cell.id: cell for cell in cells}.values():
        provenance = read_manifest(folder.run_directory(cell.id))["provenance"]
        for what, value in _origin(provenance).items():
            found.setdefault(what, {})[value] = None
    for what, values in found.items():
        if len(values) > 1:
            named = ", ".join(sorted(values)[:_MOST_NAMED])
            more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
            yield Finding(
                "origin",
                f"cells were computed with different {what} ({named}{more})",
                "warning",
                value=len(values),
                where={"of": what},
            )


def _origin(provenance: dict[str, Any]) -> dict[str, str]:
    git = provenance.get("git") or {}
    versions = provenance.get("versions") or {}
    # The number of a device is a place; what stands behind it is its kind.
    device = str(provenance.get("device") or "")
    kind = device[device.find("(") + 1 :].rstrip(")") if "(" in device else device.split(":")[0]
    return {
        "commits of the working directory": str(git.get("commit") or "none")[:12],
        "devices": kind or "unknown",
        **{f"versions of {name}": str(versions.get(name)) for name in ("iclprobe", "torch", "transformers")},
    }
