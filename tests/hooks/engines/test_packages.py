"""A package of an extra is there and within its bounds, or one sentence says what to install."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import metadata as metadata_of
from importlib.metadata import version
from pathlib import Path

import pytest

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.engines.packages import require_package

EXTRAS = ("transformer-lens", "nnsight")


@pytest.fixture
def metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where packages' metadata are looked for first; behind it only our own."""
    _describe(tmp_path, "iclprobe", "0.1.0", str(metadata_of("iclprobe")))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def _describe(folder: Path, name: str, number: str, text: str | None = None) -> None:
    place = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    place.mkdir()
    text = text or f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
    (place / "METADATA").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_installed_here_is_within_the_bounds(extra: str) -> None:
    assert require_package(extra) == version(extra)


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_bounds_are_those_of_pyproject(extra: str) -> None:
    file = Path(iclprobe.__file__).parent / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [extra in line and ">=" in line and ",<" in line for line in extras[extra]] == [True]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_package_says_which_install_brings_it(extra: str, metadata: Path) -> None:
    with pytest.raises(UserError, match=rf"not installed: pip install 'iclprobe\[{extra}\]'") as caught:
        require_package(extra)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("extra", "number"),
    [("transformer-lens", "4.2.9"), ("transformer-lens", "5.0.0"), ("nnsight", "0.7.1"), ("nnsight", "0.9")],
)
def test_another_version_is_named_with_the_bounds(extra: str, number: str, metadata: Path) -> None:
    _describe(metadata, extra, number)
    with pytest.raises(UserError, match=rf"{number} is installed: pip install 'iclprobe\[{extra}\]'"):
        require_package(extra)


@pytest.mark.parametrize(("extra", "number"), [("transformer-lens", "4.9.0"), ("nnsight", "0.8.3")])
def test_a_later_version_within_the_bounds_is_taken(extra: str, number: str, metadata: Path) -> None:
    _describe(metadata, extra, number)
    assert require_package(extra) == number
