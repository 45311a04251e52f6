"""How every analysis runs: configuration, context, measurement, study, run directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..scratch_files import scratch_place
from ..settings import Settings, make_config
from ..study.analysis import Analysis, there
from ..study.finding import Finding
from ..study.run_directory import run_directory
from ..study.study import Study, make_study
from ..study.study_files import write_study
from .context import Context, Measured, say_nothing
from .provenance import surroundings
from .public_settings import without_secrets
from .shared import Shared


@dataclass(frozen=True)
class Told:
    """What a study tells beside what it measured, from whoever ran it.

    Attributes:
        findings: What limits its numbers.
        provenance: Where it came from.
    """

    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def run_analysis(
    analysis: Analysis,
    config: Settings | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    page: bool = True,
    pictures: bool = True,
    say: Callable[[str], None] | None = None,
    shared: Shared | None = None,
    told: Told | None = None,
    **options: Any,
) -> Study:
    """Run an analysis and return its study.

    Args:
        analysis: Which.
        config: Everything about it; or give its fields as keywords.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        page: Whether the run directory gets its page, too.
        pictures: Whether it gets its pictures.
        say: Told what is about to happen.
        shared: What runs before this one have loaded and recorded, for it to take.
        told: What the study tells beside what it measured.
        options: Fields of its configuration; a model or a task may be one in memory,
            of which the study keeps the name.

    Raises:
        UserError: If something asked for cannot be done; nothing is written then.
    """
    given = {
        name: options.pop(name)
        for name in analysis.in_memory
        if name in options and not isinstance(options[name], str | None)
    }
    options = {
        name: value for name, value in options.items() if value is not None or name not in analysis.in_memory
    }
    resolved = resolve(analysis, config, options)
    start = time.perf_counter()
    with nullcontext(None) if out is None else run_directory(out, overwrite=overwrite) as folder:
        context = Context(given, folder, say or say_nothing, shared or Shared())
        with scratch_place(None if folder is None else folder.parent):
            measured: Measured = there(analysis.measure)(resolved, context)
        study = make_study(
            analysis,
            without_secrets(measured.config),
            measured.tables,
            (*measured.findings, *context.findings(), *(told.findings if told else ())),
            {
                **surroundings(_device(resolved), time.perf_counter() - start),
                **_origin(context, start),
                **measured.provenance,
                **(told.provenance if told else {}),
            },
            measured.arrays,
            measured.parts,
        )
        if folder is not None:
            write_study(folder, study, page=page, pictures=pictures)
    return study


def resolve(analysis: Analysis, config: Settings | None, options: Mapping[str, Any]) -> Any:
    """Return the configuration that another one and options over it give.

    Raises:
        UserError: If a key is unknown, a value impossible, or what is asked for cannot be done.
    """
    base = config.model_dump(exclude_unset=True) if config else {}
    resolved = make_config(analysis.config, {**base, **options}, analysis.command)
    if analysis.check is not None:
        there(analysis.check)(resolved)
    return resolved


def _device(config: Any) -> str:
    """Where tensors are of an analysis that opens no model."""
    asked = getattr(config, "device", "cpu")
    return "cpu" if asked == "auto" else asked


def _origin(context: Context, start: float) -> dict[str, Any]:
    origin = context.origin()
    return {**origin, "seconds": round(time.perf_counter() - start, 3)} if origin else {}
