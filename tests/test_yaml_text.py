"""YAML of plain values: words are words, nothing twice, nothing without end."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from iclprobe.analyses.comparison.registration import COMPARE
from iclprobe.cli.analysis_command import config_values
from iclprobe.errors import UserError
from iclprobe.models.recipe import load_recipe
from iclprobe.text_files import Unreadable
from iclprobe.yaml_text import parse_yaml


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("epochs: 1\npreset: dai\nepochs: 2\n")
    for read in (load_recipe, lambda file: config_values(str(file), COMPARE)):
        with pytest.raises(UserError, match=r"line 3: the key 'epochs' stands there twice"):
            read(path)
    with pytest.raises(Unreadable, match="line 3: the key 1 stands there twice"):
        parse_yaml("label_words:\n  1: bad\n  1: good\n")


def test_a_merge_may_be_overridden() -> None:
    text = "base: &base {a: 1, b: [2, {c: 3}]}\nown: {<<: *base, a: 4}\nnothing:\n"
    assert parse_yaml(text) == yaml.safe_load(text)


def test_words_and_slices_are_texts() -> None:
    read = parse_yaml("layers: 8:16\nwords: {0: no, 1: yes}\nchat_template: off\nday: 2024-01-01\nid: 010\n")
    assert read == {
        "layers": "8:16",
        "words": {0: "no", 1: "yes"},
        "chat_template": "off",
        "day": "2024-01-01",
        "id": "010",
    }


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "[" * 60_000,
        "- " * 30_000,
        "a: " + "9" * 5_000,
        "a: .inf",
        "? [a, b]\n: c",
        "!!python/object/apply:os.getcwd []",
        "a: !!timestamp x",
        "a: \x00",
        "'",
        "<<: 3",
    ],
    ids=[
        "bomb",
        "cycle",
        "deep",
        "deep-block",
        "digits",
        "infinite",
        "list-key",
        "object",
        "tag",
        "nul",
        "open",
        "merge",
    ],
)
def test_what_has_no_end_or_is_no_plain_value_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^line \d+: ") as refusal:
        parse_yaml(text)
    assert len(str(refusal.value)) <= 160
