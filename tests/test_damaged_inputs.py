"""Whatever becomes of a valid input, reading it ends soon, with a value or with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_inputs import read_damaged, rewrite
from hypothesis import given, settings, strategies
from safetensors.torch import save

from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.analyses.comparison.registration import COMPARE
from iclprobe.analyses.papers.overrides import read_overrides
from iclprobe.cli.analysis_command import config_values
from iclprobe.cli.option_values import pairs_of
from iclprobe.json_text import parse_json
from iclprobe.models.recipe import load_recipe
from iclprobe.models.safetensors_file import LocalFile, SafetensorsFile
from iclprobe.settings import make_config
from iclprobe.tasks.given_label_words import read_label_words
from iclprobe.tasks.record_format import RecordFormat
from iclprobe.tasks.records import read_pools, read_records
from iclprobe.tasks.task import Record, Template
from iclprobe.yaml_text import parse_yaml

FORM = RecordFormat(("text",), ("negative", "positive"))
SETTINGS = (
    "model: pocket\nshots: 8\nseeds: [0, 1]\nlabel_words: {0: a, 1: b}\nplan: {layers: '2:4', sites: [scores]}\n",
    "columns: &base {name: dai}\nrecipe:\n  <<: *base\n  preset: dai\nlevel: 0.9\nlimit: null\n",
    'task: sst2\n# a comment\nseparator: |\n  a\n  b\ntemplate: "Review: {text}\\nSentiment:"\nbatch_size: auto\n',
)
RECIPES = (
    "preset: dai\noptimizer: adam\nlearning_rate: 0.01\nepochs: 3\nclip: global_l2\nclip_value: 12.0\n",
    "optimizer: gd\nparameters: 'regex:layers\\.\\d+\\.(q|v)_proj'\nlora_rank: 8\n",
)
OBJECTS = (
    '{"a": [1, 2.5, -3e2, {"b": null}], "c": "x\\u00e9\\n", "d": {"e": [[], {}]}}',
    '{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "rank_pattern": {}}',
)
LINES = (
    '{"text": "a fine film", "label": 1}\n{"text": "dull", "label": 0}\n\n{"text": "né", "label": "positive"}\n',
    '\ufeff{"label": 0, "text": "x", "more": [1, {"y": 2}]}\n{"text": "b\\ud83d\\ude00", "label": 1, "more": null}\n',
)
TABLES = (
    'text,label\n"a, ""fine"" film",1\ndull,0\n"two\nlines",positive\n',
    'label\ttext\n0\tthe "end"\n1\ta b c\n1\tit\'s\n',
    'label,text\r\n1,x\r\n0,"y"\r\n',
)
TEMPLATES = (
    "Review: {text}\nSentiment:",
    "{text} {{not a field}} It was",
    "A: {first} B: {second.third} {0} {a!r:>10}",
)
HEADERS = tuple(
    save(tensors, {"format": "pt"})[8:].decode("latin-1")
    for tensors in ({"a": torch.zeros(2, 3), "b.c": torch.ones(4, dtype=torch.int8)}, {"w": torch.zeros(1)})
)


def _reader_of_file(name: str, read: Callable[[Path], Any], folder: Path) -> Callable[[str], Any]:
    path = folder / name

    def write_and_read(text: str) -> Any:
        rewrite(path, text.encode("utf-8", "surrogatepass"))
        return read(path)

    return write_and_read


def _read_template(text: str) -> str:
    return Template("own", text, ("bad", "good"), "\n").render(
        Record({"text": "it", "first": "a", "0": "b"}, 0)
    )


def _read_header(folder: Path) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        raw = text.encode("latin-1", "replace")
        # The header is as long as it was, so that damage moves its end as well.
        stop = raw.rfind(b"}") + 1 or len(raw)
        rewrite(folder / "x.safetensors", stop.to_bytes(8, "little") + raw)
        file = SafetensorsFile(LocalFile(folder / "x.safetensors"))
        try:
            return [file.read(name) for name in list(file.stored)[:3]]
        finally:
            file.close()

    return read


def _compare(text: str, folder: Path) -> CompareConfig:
    read = _reader_of_file("c.yaml", lambda path: config_values(str(path), COMPARE), folder)
    return make_config(CompareConfig, read(text), "the file")


READERS: dict[str, tuple[Callable[[Path], Callable[[str], Any]], tuple[str, ...]]] = {
    "yaml": (lambda _: parse_yaml, SETTINGS),
    "configuration": (lambda folder: lambda text: _compare(text, folder), SETTINGS),
    "recipe": (lambda folder: _reader_of_file("r.yaml", load_recipe, folder), RECIPES),
    "json": (lambda _: parse_json, OBJECTS),
    "jsonl": (
        lambda folder: _reader_of_file("d.jsonl", lambda path: read_records(path, FORM), folder),
        LINES,
    ),
    "csv": (lambda folder: _reader_of_file("d.csv", lambda path: read_pools(path, FORM), folder), TABLES),
    "tsv": (lambda folder: _reader_of_file("d.tsv", lambda path: read_pools(path, FORM), folder), TABLES),
    "template": (lambda _: _read_template, TEMPLATES),
    "label words": (lambda _: read_label_words, ("bad,good", "1=bad,5=good", "a:b,c")),
    "pairs": (lambda _: lambda text: pairs_of(text, "--columns", "a=b", ","), ("sentence=text,gold=label",)),
    "overrides": (
        lambda _: lambda text: read_overrides(text.split(";")),
        ("limit=32;recipe.epochs=3;seeds=[0, 1]",),
    ),
    "safetensors": (_read_header, HEADERS),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_damaged_input_is_read_or_refused(name: str, count: int, tmp_path: Path) -> None:
    reader, valid = READERS[name]
    read = reader(tmp_path)

    # Fifty to an example: drawing one would take longer than reading it.
    @settings(max_examples=count // 50, derandomize=True, deadline=None, database=None)
    @given(block=strategies.integers(0, 2**32 - 1))
    def run(block: int) -> None:
        for seed in range(50 * block, 50 * block + 50):
            read_damaged(read, valid, seed)

    run()


@pytest.mark.parametrize("name", sorted(set(READERS) - {"template"}))
def test_the_undamaged_are_read(name: str, tmp_path: Path) -> None:
    reader, valid = READERS[name]
    for text in valid if name not in {"csv", "tsv"} else valid[name == "tsv" :][:1]:
        reader(tmp_path)(text)
