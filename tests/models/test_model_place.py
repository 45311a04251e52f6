"""Where a model of a name lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from iclprobe.errors import UserError
from iclprobe.models.model_place import place_of


@pytest.mark.parametrize("revision", ["main", "²", "-1", "1.5", "9" * 5_000, "7"])
def test_what_is_no_step_of_an_embedded_model_is_refused(revision: str) -> None:
    with pytest.raises(UserError, match="step"):
        place_of("pocket", revision)


@pytest.mark.parametrize("name", ["owner/model", "x" * 5_000, "a\0b"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert place_of(name, "main") == (name, "main")


def test_a_folder_of_that_name_comes_before_the_embedded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pocket").mkdir()
    monkeypatch.chdir(tmp_path)
    assert place_of("pocket", None) == ("pocket", None)
    monkeypatch.undo()
    place, revision = place_of("pocket", None)
    assert Path(place).is_dir() and revision is None
