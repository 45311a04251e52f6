"""A key that stands twice in a YAML file is refused, in configurations and recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from iclprobe.cli.options import read_config
from iclprobe.errors import UserError
from iclprobe.models.recipe import load_recipe
from iclprobe.models.yaml_mapping import load_yaml


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("epochs: 1\npreset: dai\nepochs: 2\n")
    for read in (load_recipe, read_config):
        with pytest.raises(UserError, match=r"the key 'epochs' stands there twice .*line 3"):
            read(path)
    with pytest.raises(yaml.YAMLError, match="the key 1 stands there twice"):
        load_yaml("label_words:\n  1: bad\n  1: good\n")


def test_all_else_is_read_as_ever() -> None:
    text = "base: &base {a: 1, b: [2, {c: 3}]}\nown: {<<: *base, a: 4}\nnothing:\n"
    assert load_yaml(text) == yaml.safe_load(text)
    with pytest.raises(yaml.YAMLError):
        load_yaml("!!python/object/apply:os.getcwd []")
