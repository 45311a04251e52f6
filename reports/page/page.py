"""A study as one self-contained HTML file: everything that it shows, the data it is shown from, and what shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...addresses import public
from ...study.config_text import config_text
from ...study.json_values import rows_of
from ...study.plain_values import plain
from ...unfinished import unfinished_place
from .. import style
from .explored import explored
from .packed import json_for_script, packed_bytes
from .page_tables import page_tables
from .shown_prompts import kinds_of, shown_prompts

if TYPE_CHECKING:
    from jinja2 import Template

    from ...study.finding import Finding
    from ...study.study import Study

PAGE = "page.html"
"""What the page of a run directory is called."""
PICTURE_DOTS_PER_INCH = 300
"""Of what is pixels in a page's pictures: heatmaps, which are flat colours."""
MOST_BYTES_OF_FIGURES = 4_000_000
_MOST_FINDINGS = 24
_SCRIPTS = ("elements", "numbers", "tables", "figures", "findings", "arrays", "charts", "explorer")
# A value, and its interval or spread.
_NUMBERS_ALONE = re.compile(r"-?\d\S* ?%?( \[[^\]]*\]| ± \S+| \(± [^)]*\))?")
_LIBRARIES = ("d3.min.js", "plot.umd.min.js")


def write_page(path: Path, study: Study, pictures: Mapping[str, bytes] | None = None) -> Path:
    """Write the page of a study, and return where it is.

    Args:
        path: The file, or a folder in which it is called ``page.html``.
        study: The study.
        pictures: Its figures as SVG, by their kind, if they are drawn already.
    """
    path = path / PAGE if path.is_dir() else path
    content = page_html(study, pictures)
    with unfinished_place(path) as unfinished:
        unfinished.write_text(content, encoding="utf-8", errors="backslashreplace")
        unfinished.replace(path)
    return path


def page_html(study: Study, pictures: Mapping[str, bytes] | None = None) -> str:
    """Return a study as one HTML file that needs nothing but itself.

    Every text is escaped where it stands in the page, and set as text where a script sets it; a policy in the page
    lets no script run but the page's own, and nothing be fetched.

    Args:
        study: The study.
        pictures: Its figures as SVG, by their kind, if they are drawn already.
    """
    drawn, left_out = _packed_pictures(_drawn(study) if pictures is None else pictures)
    prompts, exploration = shown_prompts(study), explored(study)
    data = {
        "analysis": study.analysis,
        "colours": style.SETTING_COLOURS,
        "findings": _findings(study),
        "tables": page_tables(study),
        "figures": drawn,
        "explorer": exploration,
    }
    scripts = (*(_text(f"vendor/{name}") for name in _LIBRARIES), _own_script())
    command = study.declaration.command
    results = [finding for finding in study.findings if finding.kind == "result"]
    shared_basis = _shared_basis(results)
    return _template().render(
        command=command,
        title=" · ".join([command, *_names(study)]),
        names=_names(study),
        sheet=study.sheet(),
        findings=results,
        most_findings=_MOST_FINDINGS if len(results) > 1.5 * _MOST_FINDINGS else len(results),
        intervals=any(math.isfinite(finding.low) for finding in results),
        nulls=any(math.isfinite(finding.null) for finding in results),
        bases=not shared_basis and any(finding.basis for finding in results),
        shared_basis=shared_basis,
        where=_where,
        about=_about,
        number=_number,
        finite=math.isfinite,
        prompts=prompts,
        kinds=kinds_of(prompts),
        figures=[*drawn],
        figures_left_out=left_out,
        tables=[table["name"] for table in data["tables"]],
        exploration=exploration,
        provenance=study.provenance,
        self_check=study.provenance.get("self_check"),
        manifest=json.dumps(
            {"analysis": study.analysis, "provenance": plain(study.provenance)}, indent=2, ensure_ascii=False
        ),
        config=config_text(study.analysis, study.config),
        bibtex=_text("citations.bib").replace("VERSION", _version(study)),
        css=_text("page.css"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        data=json_for_script(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))),
    )


def _drawn(study: Study) -> dict[str, bytes]:
    return {
        kind: style.pictures_bytes(figure, ("svg",), PICTURE_DOTS_PER_INCH)["svg"]
        for kind, figure in study.figures().items()
    }


def _packed_pictures(pictures: Mapping[str, bytes]) -> tuple[dict[str, str], list[str]]:
    """Return pictures by their kind, as far as there is room, and the kinds of the others."""
    drawn: dict[str, str] = {}
    left_out, room = [], MOST_BYTES_OF_FIGURES
    for kind, picture in pictures.items():
        text = packed_bytes(picture)
        if len(text) > room:
            left_out.append(kind)
            continue
        drawn[kind], room = text, room - len(text)
    return drawn, left_out


def _findings(study: Study) -> list[dict[str, Any]]:
    """Return the results that have an interval, to be drawn."""
    from ...study.finding import findings_frame

    found = [finding for finding in study.findings if finding.kind == "result" and math.isfinite(finding.low)]
    return [
        {name: row[name] for name in ("name", "value", "low", "high", "null", "unit")}
        | {"where": _where(finding)}
        for finding, row in zip(found, rows_of(findings_frame(found)), strict=True)
    ]


def _shared_basis(results: Sequence[Finding]) -> str:
    """Return what every interval is over, if it is the same of all."""
    bases = {finding.basis for finding in results if finding.basis}
    return bases.pop() if len(bases) == 1 else ""


def _where(finding: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in finding.where.items())


def _about(finding: Any) -> str:
    """Return the sentence of a finding, without the numbers at its end, which stand in columns of their own."""
    about, _, numbers = finding.sentence.rpartition(": ")
    return about if about and _NUMBERS_ALONE.fullmatch(numbers) else finding.sentence


def _number(value: float, unit: str = "") -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}\u2009%" if unit == "%" else f"{value:.3g}"


def _names(study: Study) -> list[str]:
    """Return what a run is called: its model, its task, and so on."""
    parts = [
        public(str(part)).rstrip("/").rsplit("/", 1)[-1] for part in getattr(study.config, "run_name", ())
    ]
    return [part for part in parts if part and part != study.analysis]


def _version(study: Study) -> str:
    return str(study.provenance.get("versions", {}).get("iclprobe") or "0")


def _own_script() -> str:
    bodies = "\n".join(_text(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{bodies}\n}})();'


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


@cache
def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_text("page.html.jinja"))
