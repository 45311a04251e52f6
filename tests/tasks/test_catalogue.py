"""The catalogue renders each template exactly as the papers do, and lets users add and change tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_material import shared

from iclprobe.errors import UserError
from iclprobe.tasks import catalogue
from iclprobe.tasks.catalogue import DEFAULT_TASK, TaskEntry, load_task, register_task, task_entry, task_names
from iclprobe.tasks.task import END_OF_SEQUENCE, Record, Task, Template

PAPERS = ("sst2", "sst5", "mr", "subj", "agnews", "cb", "rte")

# A demonstration of every label as the papers write it, for the text X (or premise P and hypothesis Q).
DAI = {
    "sst2": ["Sentence: X Label: Negative", "Sentence: X Label: Positive"],
    "sst5": [f"Sentence: X Label: {word}" for word in ("terrible", "bad", "neutral", "good", "great")],
    "mr": ["Review: X Sentiment: Negative", "Review: X Sentiment: Positive"],
    "subj": ["Input: X Type: objective", "Input: X Type: subjective"],
    "agnews": [
        "Classify the news articles into the categories of World, Sports, Business, and Technology. "
        f"Article: X Answer: {word}"
        for word in ("World", "Sports", "Business", "Technology")
    ],
    "cb": [
        "P Question: Q. True, False, or Neither? Answer: True",
        "P Question: Q. True, False, or Neither? Answer: False",
        "P Question: Q. True, False, or Neither? Answer: Neither",
    ],
    "rte": [
        "Passage: P Question: Q Yes or No? Answer: Yes",
        "Passage: P Question: Q Yes or No? Answer: No",
    ],
}
SHEN = {
    "sst2": ["Review: X\nSentiment: Negative", "Review: X\nSentiment: Positive"],
    "agnews": [f"Article: X\nAnswer: {word}" for word in ("World", "Sports", "Business", "Technology")],
    "cb": [
        "P\nquestion: Q. true, false, or neither?\nanswer: true",
        "P\nquestion: Q. true, false, or neither?\nanswer: false",
        "P\nquestion: Q. true, false, or neither?\nanswer: neither",
    ],
    "rte": [
        " P\nquestion: Q True or False?\nanswer: True",
        " P\nquestion: Q True or False?\nanswer: False",
    ],
}
LABEL_NAMES = {
    "sst2": ("negative", "positive"),
    "sst5": ("very negative", "negative", "neutral", "positive", "very positive"),
    "mr": ("negative", "positive"),
    "subj": ("objective", "subjective"),
    "agnews": ("World", "Sports", "Business", "Sci/Tech"),
    "cb": ("entailment", "contradiction", "neutral"),
    "rte": ("entailment", "not_entailment"),
}
HUB_COLUMNS = {"sst2": ["sentence"], "rte": ["sentence1", "sentence2"], "cb": ["premise", "hypothesis"]}


def rows(name: str, hub: bool) -> list[dict[str, object]]:
    pair = name in ("cb", "rte")
    columns = ["premise", "hypothesis"] if pair else ["text"]
    if hub:
        columns = HUB_COLUMNS.get(name, columns)
    texts = dict(zip(columns, ["P", "Q"] if pair else ["X"], strict=True))
    return [{**texts, "label": label, "idx": label} for label in range(len(LABEL_NAMES[name]))]


def demonstrations(task: Task) -> list[str]:
    return [task.template.render(record) + task.template.label_text(record.label) for record in task.train]


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    yield


def test_the_papers_tasks_and_six_pocket_tasks_are_there() -> None:
    assert task_names()[:7] == PAPERS
    assert sum(name.startswith("pocket") for name in task_names()) == 6
    assert DEFAULT_TASK in task_names()


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("name", PAPERS)
def test_the_dai_templates_are_the_papers_text_for_hub_and_local_columns(name: str, hub: bool) -> None:
    data = {"train": rows(name, hub), "validation": rows(name, hub)}
    task = load_task(name, data=data)
    assert demonstrations(task) == DAI[name]
    assert task.template == load_task(name, data=data, template="dai").template
    assert task.template.separator == END_OF_SEQUENCE
    assert task.label_names == LABEL_NAMES[name]


@pytest.mark.parametrize("name", SHEN)
def test_the_shen_templates_exist_for_the_four_tasks_of_that_paper(name: str) -> None:
    data = {"train": rows(name, True), "validation": rows(name, True)}
    task = load_task(name, data=data, template="shen")
    assert demonstrations(task) == SHEN[name]
    assert task.template.separator == "\n\n"


@pytest.mark.parametrize("name", sorted(set(PAPERS) - set(SHEN)))
def test_a_variant_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' has no template 'shen': choose from dai"):
        load_task(name, template="shen")
    with pytest.raises(UserError, match="choose from dai, shen"):
        load_task("sst2", template="bar")


def test_hub_ids_and_splits_are_those_that_run_no_loading_script() -> None:
    entries = {name: task_entry(name) for name in PAPERS}
    assert {name: (entry.hub_id, entry.hub_config) for name, entry in entries.items()} == {
        "sst2": ("nyu-mll/glue", "sst2"),
        "sst5": ("SetFit/sst5", None),
        "mr": ("cornell-movie-review-data/rotten_tomatoes", None),
        "subj": ("SetFit/subj", None),
        "agnews": ("fancyzhx/ag_news", None),
        "cb": ("aps/super_glue", "cb"),
        "rte": ("nyu-mll/glue", "rte"),
    }
    assert {name for name, entry in entries.items() if entry.evaluation_split == "test"} == {"subj", "agnews"}


def test_label_words_template_text_and_separator_can_be_changed() -> None:
    data = {"train": rows("sst2", False), "validation": rows("sst2", False)}
    task = load_task("sst2", data=data, label_words=["foo", "bar"], template="Say {text}:", separator="\n")
    assert demonstrations(task) == ["Say X: foo", "Say X: bar"]
    assert (task.template.name, task.template.separator) == ("custom", "\n")
    assert load_task("sst2", data=data, label_words="foo, bar").template.label_words == ("foo", "bar")
    with pytest.raises(UserError, match=r"2 labels \(negative, positive\) and 3 label words \(a, b, c\)"):
        load_task("sst2", data=data, label_words=["a", "b", "c"])


def test_a_template_may_use_any_column_of_the_users_data() -> None:
    data = [{"title": f"T{index}", "label": index % 2} for index in range(4)]
    task = load_task("sst2", data=data, template="{title} is")
    assert demonstrations(task)[0] in {f"T{index} is Negative" for index in (0, 2)} | {"T1 is Positive"}
    with pytest.raises(UserError, match="no column 'text' or 'sentence'"):
        load_task("sst2", data=data)
    assert len(load_task("sst2", data=data, columns={"title": "text"}).train) == 2


def test_an_own_task_needs_data_a_template_and_label_words() -> None:
    data = [{"text": f"t{index}", "label": "yes" if index % 2 else "no"} for index in range(4)]
    task = load_task("mine", data=data, template="{text}?", label_words=["no", "yes"])
    assert (task.name, task.label_names, task.template.name) == ("mine", ("no", "yes"), "custom")
    assert {*task.train, *task.validation} == {Record({"text": f"t{index}"}, index % 2) for index in range(4)}
    with pytest.raises(UserError, match="There is no task 'mine': choose from sst2"):
        load_task("mine")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"data": "reviews.csv"}, "has no template: .*--template 'Review"),
        ({"label_words": "no,yes"}, "has no template: "),
        ({"data": "reviews.csv", "template": "shen"}, "has no template called 'shen': "),
        (
            {"data": "reviews.csv", "template": "{text}?"},
            "has no label words: .*--label-words '0=bad,1=good'",
        ),
        ({"template": "{text}?", "label_words": "no,yes"}, "has no data: .*--data reviews.csv"),
    ],
)
def test_the_one_thing_that_an_own_task_lacks_is_named(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(UserError, match=f"'mine', which is not in the catalogue, {missing}"):
        load_task("mine", **given)


def test_label_words_may_be_given_by_the_values_of_the_data() -> None:
    stars = [{"text": f"t{index}", "label": label} for index, label in enumerate((5, 1, 5, 1, 3))]
    data = {"train": stars[:3], "validation": stars[3:]}
    for words in (
        {1: "bad", 3: "fair", 5: "good"},
        "1=bad, 3=fair, 5=good",
        {"1": "bad", "3": "fair", 5: "good"},
    ):
        task = load_task("mine", data=data, template="{text}?", label_words=words)
        assert task.label_names == ("1", "3", "5") and task.template.label_words == ("bad", "fair", "good")
        assert [record.label for record in (*task.train, *task.validation)] == [2, 0, 2, 0, 1]
    task = load_task("mine", data=data, template="{text}?", label_words={5: "good", 3: "fair", 1: "bad"})
    assert [record.label for record in task.train] == [0, 2, 0]
    with pytest.raises(UserError, match=r"Record 2 .* has the label 1 \(further on 3\).*words are for 5, 4"):
        load_task("mine", data=stars, template="{text}?", label_words={5: "good", 4: "fine"})


def test_a_mapping_names_the_labels_of_a_catalogue_task_by_name_or_number() -> None:
    data = {"train": rows("sst2", True), "validation": rows("sst2", True)}
    for words in (
        {"positive": "up", "negative": "down"},
        {1: "up", 0: "down"},
        {"positive": "up", 0: "down"},
    ):
        task = load_task("sst2", data=data, label_words=words)
        assert (task.label_names, task.template.label_words) == (("negative", "positive"), ("down", "up"))
    with pytest.raises(UserError, match="have none for 'negative'"):
        load_task("sst2", data=data, label_words={"positive": "up"})
    with pytest.raises(UserError, match="'positive' has two label words"):
        load_task("sst2", data=data, label_words={"positive": "up", 1: "down", 0: "no"})
    with pytest.raises(UserError, match=r"labels negative, positive, numbered from 0.*for good, bad"):
        load_task("sst2", label_words={"good": "up", "bad": "down"})
    own = [{"sentence": f"t{index}", "label": 1 + index % 2} for index in range(4)]
    task = load_task("sst2", data=own, label_words={1: "down", 2: "up"})
    assert {record.label for record in (*task.train, *task.validation)} == {0, 1}


def test_numbers_that_may_count_from_0_or_from_1_are_asked_about() -> None:
    data = [{"text": f"t{index}", "label": 1 + index % 3} for index in range(9)]
    message = "the numbers 1, 2, 3 and never 0, so that they may count from 0 or from 1"
    for name, template, words in (("agnews", None, None), ("x", "{text}?", "a,b,c,d")):
        with pytest.raises(UserError, match=message):
            load_task(name, data=data, template=template, label_words=words)
    zero = {0: "World", 1: "Sports", 2: "Business", 3: "Technology"}
    assert _labels(load_task("agnews", data=data, label_words=zero)) == {1, 2, 3}
    one = {number + 1: word for number, word in zero.items()}
    assert _labels(load_task("agnews", data=data, label_words=one)) == {0, 1, 2}
    assert _labels(load_task("agnews", data=[*data, {"text": "t", "label": 0}])) == {0, 1, 2, 3}


def _labels(task: Task) -> set[int]:
    return {record.label for record in (*task.train, *task.validation)}


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ("{text} {label}", {}),
        ("{text} {Label}", {}),
        ("{text} {stars}", {"stars": "label"}),
        ("{text} {Stars}", {"stars": "label"}),
        ("{text}", {"label": "text"}),
        ("{text}", {"stars": "text", "Stars": "label"}),
        ("{text}", {"text": "label"}),
    ],
)
def test_a_template_that_shows_the_label_is_refused(template: str, columns: dict[str, str]) -> None:
    words = ("bad", "good")
    data = [
        {
            "text": f"t{n}",
            "label": words[n % 2],
            "stars": words[n % 2],
            "Stars": words[n % 2],
            "Label": words[n % 2],
        }
        for n in range(8)
    ]
    with pytest.raises(UserError, match="the right answer"):
        load_task("mine", data=data, template=template, columns=columns, label_words=words)


def test_a_catalogue_tasks_own_label_column_cannot_be_shown(own_catalogue: None) -> None:
    template = Template("plain", "{text} {gold}", ("no", "yes"), "\n")
    register_task(TaskEntry("graded", ("no", "yes"), (template,), columns={"gold": "label"}))
    with pytest.raises(UserError, match=r"'gold', which holds the label"):
        load_task("graded", data=[{"text": "a", "gold": "no"}, {"text": "b", "gold": "yes"}])


def test_a_field_that_is_the_label_under_another_name_is_refused() -> None:
    data = [{"text": f"t{n}", "label": n % 2, "label_text": ("neg", "pos")[n % 2]} for n in range(12)]
    given: dict[str, Any] = {"data": data, "label_words": "bad,good"}
    with pytest.raises(UserError, match=r"\{label_text\} .* is the label under another name"):
        load_task("mine", template="{text} {label_text}", **given)
    assert load_task("mine", template="{text}", **given).template.fields == ("text",)


@pytest.mark.usefixtures("own_catalogue")
def test_a_user_registers_a_task_without_touching_the_package() -> None:
    template = Template("plain", "{text} ->", ("no", "yes"), "\n")
    pool = (Record({"text": "a"}, 0), Record({"text": "b"}, 1))
    register_task(TaskEntry("mine", ("no", "yes"), (template,), records=lambda: (pool, pool)))
    task = load_task("mine")
    assert (task.train, task.validation, task.template) == (pool, pool, template)
    assert task.source == "generated (mine)"
    assert "mine" in task_names()
    with pytest.raises(UserError, match="'mine' already"):
        register_task(TaskEntry("mine", ("no", "yes"), (template,)))
    register_task(TaskEntry("mine", ("no", "yes"), (template,)), replace_existing=True)
    with pytest.raises(UserError, match="no data of its own"):
        load_task("mine")


def test_entries_without_a_template_or_with_two_of_one_name_are_refused() -> None:
    template = Template("plain", "{text} ->", ("no", "yes"), "\n")
    with pytest.raises(UserError, match="has no template"):
        TaskEntry("mine", ("no", "yes"), ())
    with pytest.raises(UserError, match="alike"):
        TaskEntry("mine", ("no", "yes"), (template, template))


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("pocket")])
def test_pocket_tasks_load_with_records_for_every_label(name: str) -> None:
    task = load_task(name)
    assert len(task.train) >= 512
    assert {record.label for record in task.validation} == set(range(len(task.label_names)))
    assert load_task(name, template="pocket") == task
    with pytest.raises(UserError, match="makes its own records"):
        load_task(name, columns={"a": "text"})


@pytest.mark.parametrize("name", ["sst2", "sst5", "mr", "agnews", "cb"])
def test_real_local_samples_load_through_the_catalogue(name: str) -> None:
    task = load_task(name, data=shared(f"data/{name}"))
    assert len(task.train) >= 250
    assert len(task.validation) >= 56
    assert task.source == str(shared(f"data/{name}"))


def test_the_hub_reader_takes_split_columns_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_catalogue: None
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    copy = tmp_path / "copy"
    copy.mkdir()
    for stem, words in (("train", ("a", "b")), ("test", ("c", "d"))):
        lines = [json.dumps({"sentence": word, "label": index}) for index, word in enumerate(words)]
        (copy / f"{stem}.jsonl").write_text("\n".join(lines))
    template = Template("plain", "{text} ->", ("no", "yes"), "\n")
    entry = TaskEntry("local", ("no", "yes"), (template,), hub_id=str(copy), columns={"sentence": "text"})
    register_task(TaskEntry(**{**vars(entry), "evaluation_split": "test"}))
    task = load_task("local")
    assert task.train == (Record({"text": "a"}, 0), Record({"text": "b"}, 1))
    assert task.validation == (Record({"text": "c"}, 0), Record({"text": "d"}, 1))
    register_task(TaskEntry(**{**vars(entry), "name": "wrong"}))
    with pytest.raises(UserError, match=r"split 'validation' of .*copy' could not be read.*data=PATH"):
        load_task("wrong")


def test_without_the_datasets_package_the_hub_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'iclprobe\[datasets\]'"):
        load_task("sst2")


def test_importing_the_catalogue_and_the_prompts_loads_nothing_heavy() -> None:
    code = (
        "import sys, iclprobe.tasks.catalogue, iclprobe.tasks.prompts, iclprobe.tasks.record_length\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_field_that_says_the_label_is_refused_also_where_a_few_records_are_odd() -> None:
    data = [{"text": f"t{n}", "label": n % 2, "told": ("neg", "pos")[n % 2]} for n in range(60)]
    data[0]["told"] = "neutral"
    with pytest.raises(UserError, match=r"\{told\} .* is the label under another name"):
        load_task("mine", data=data, template="{text} {told}", label_words="no,yes")


def test_a_space_at_the_end_of_a_template_is_the_one_before_the_label_word() -> None:
    data = [{"text": f"t{n}", "label": n % 2} for n in range(8)]
    with_space, without = (
        load_task("mine", data=data, template=template, label_words="no,yes").template
        for template in ("Review: {text} Tone: ", "Review: {text} Tone:")
    )
    assert with_space == without
