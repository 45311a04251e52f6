"""The site: pages, pictures and the reference laid out in ``build/docs`` and built strictly: ``make docs``.

Pages link to pictures and papers of the repository where they lie, so that they can be read there as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from latex2mathml.converter import convert
from reference_pages import reference_pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "docs"
# What lies beside the pages in the repository and among them in the site.
_BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_FORMULA = re.compile(r"```math\n(.*?)\n```", re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


def lay_out(target: Path) -> None:
    """Write every page and picture of the site into an empty folder.

    Raises:
        FileNotFoundError: If a page shows a picture that is not there; the build asks for pages alone.
    """
    shutil.rmtree(target, ignore_errors=True)
    gallery = ROOT / "reports" / "gallery"
    for file in [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in _BESIDE)]:
        place = target / (file.relative_to(ROOT / "docs") if "docs" in file.parts[-3:-1] else file.name)
        _write(place, site_text(file.read_text(encoding="utf-8"), beside=file.parent == ROOT))
    for path, text in reference_pages().items():
        _write(target / path, text)
    shutil.copytree(gallery, target / "gallery")
    shutil.copytree(ROOT / "docs" / "style", target / "style")
    missing = [
        f"{page.relative_to(target)}: {path}" for page, path in _pictures(target) if not path.is_file()
    ]
    if missing:
        raise FileNotFoundError(f"pages show pictures that are not there: {', '.join(missing)}")


def site_text(text: str, *, beside: bool = False) -> str:
    """Return a page as the site has it: links into the repository to the site's pages, formulas as MathML.

    Args:
        text: The page.
        beside: Whether it lies in the repository's root.
    """
    for name in _BESIDE:
        text = text.replace(f"(../{name}", f"({name}").replace(f"(../../{name}", f"(../{name}")
    text = text.replace("../reports/gallery/", "gallery/")
    if beside:
        text = text.replace("](docs/", "](").replace("](README.md", "](index.md")
    return _FORMULA.sub(lambda found: _formula(found[1]), text)


def _formula(latex: str) -> str:
    """Return a formula as MathML; its parts stand beside each other where there is room."""
    parts = (convert(part, display="block") for part in latex.split("\\qquad"))
    return f'<div class="formula">{"".join(parts)}</div>'


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


def _pictures(target: Path) -> list[tuple[Path, Path]]:
    return [
        (page, page.parent / found[1])
        for page in target.rglob("*.md")
        for found in _PICTURE.finditer(page.read_text(encoding="utf-8"))
    ]


if __name__ == "__main__":
    lay_out(PAGES)
    build = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(ROOT / "mkdocs.yml")]
    # Beside the package, or the reference would name sources by the link in .venv that they are read through.
    sys.exit(subprocess.run(build, cwd=PAGES).returncode)
