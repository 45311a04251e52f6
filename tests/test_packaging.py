"""The wheel holds the package, the embedded model and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "-w", str(folder), str(source)], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_embedded_model_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.split("/")[1] for name in names if name.startswith("iclprobe/") and name.count("/") > 1}
    assert folders == {"tasks", "models", "hooks", "probes", "analyses", "study", "reports", "sweeps", "cli"}
    assert {"iclprobe/py.typed", "iclprobe/models/pocket/CARD.md"} <= set(names)
    assert "iclprobe/models/pocket/weights/pocket/model.safetensors" in names
    assert not [name for name in names if "test" in name or "bench" in name]


@pytest.mark.slow
def test_the_wheel_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import iclprobe; "
        "assert iclprobe.__file__.startswith(sys.argv[1]), iclprobe.__file__; "
        "print(iclprobe.load_model('pocket', device='cpu'))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "LanguageModel('pocket'" in result.stdout
