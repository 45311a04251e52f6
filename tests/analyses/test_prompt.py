"""What a model is sent can be seen, before a run and in what every run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
from made_tokenizers import CHAT
from shared_material import real_model, shared

import iclprobe
from iclprobe import PromptView, UserError, load_model, load_study, load_task, show_prompt
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.configuration import SubjectConfig
from iclprobe.analyses.controls.altered_cells import with_other_task, with_shuffled_prefix
from iclprobe.analyses.learning_rates import learning_rate_for
from iclprobe.analyses.prompt_text import quoted
from iclprobe.analyses.subject import load_subject
from iclprobe.hooks.text_prompts import as_prompt_set
from iclprobe.models import learning_rate
from iclprobe.models.recipe import load_recipe
from iclprobe.settings import make_config
from iclprobe.tasks.task import Task


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokenizer has a chat template."""
    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("chat") / "model", layers=2, chat=True)


@pytest.fixture
def options(chat: Path, records: Path) -> dict[str, Any]:
    return {
        "model": str(chat),
        "task": "tone",
        "data": str(records),
        "template": tiny_checkpoint.TEMPLATE,
        "label_words": ("bad", "good"),
        "shots": 2,
        "limit": 4,
        "device": "cpu",
        "chat_template": "user_turn",
    }


def shown(options: dict[str, Any], **changes: Any) -> PromptView:
    return show_prompt(**(options | changes))


def task_of(options: dict[str, Any]) -> Task:
    return load_task(
        "tone", data=options["data"], template=options["template"], label_words=options["label_words"]
    )


def test_the_prompt_shown_is_the_prompt_that_is_run(options: dict[str, Any]) -> None:
    for chat_template in ("off", "user_turn"):
        config = SubjectConfig(**(options | {"chat_template": chat_template, "seeds": 3}))
        subject = load_subject(config)
        cell = prepare_cell(config, subject.model, subject.task, 3)
        for place, query in enumerate(cell.queries):
            view = shown(config.model_dump(), query=query)
            assert view.query_index == query
            assert view.zero_shot.ids == cell.prompts.zero_shot.full_ids(place)
            assert view.icl.ids == cell.prompts.icl.full_ids(place)
            assert tuple(part.ids for part in view.options.values()) == cell.prompts.icl.label_ids[place]
            assert view.longest == cell.prompts.icl.longest
            assert view.context_length == subject.model.context_length == 128


def test_parts_are_told_apart(options: dict[str, Any]) -> None:
    view = shown(options, chat_template="off", separator=" very ")
    assert [part.name for part in view.icl.parts] == [
        "begin-of-sequence",
        *(f"{name} {number}" for number in (1, 2) for name in ("demonstration", "label", "separator")),
        "query",
    ]
    assert [part.name for part in view.zero_shot.parts] == ["begin-of-sequence", "query"]
    named = {part.name: part for part in view.icl.parts}
    assert named["begin-of-sequence"].tokens == ("<s>",)
    assert named["separator 1"].tokens == (" ", "very", " ")
    assert named["label 1"].tokens[-1] in ("good", "bad")
    assert named["query"].tokens[-2:] == ("Label", ":")
    assert view.options["good"].tokens == (" ", "good")
    turn = shown(options)
    assert [part.name for part in turn.zero_shot.parts] == [
        "head of the user turn",
        "query",
        "end of the user turn",
    ]
    assert turn.zero_shot.parts[0].tokens == ("<turn>", "user", "\n")
    assert turn.zero_shot.parts[2].tokens == ("<end>", "\n", "<turn>", "assistant", "\n")
    assert turn.options["good"].tokens == ("good",)


def test_the_text_shown_is_quoted(options: dict[str, Any]) -> None:
    view = shown(options)
    lines = str(view).splitlines()
    assert json.dumps(view.icl.text) in lines and json.dumps(view.zero_shot.text) in lines
    assert r"\n" in json.dumps(view.icl.text) and "<turn>" in view.icl.text
    assert (
        'separator          "\\n\\n" in place of the end-of-sequence token, which would end the turn' in lines
    )
    assert any(line.split()[:2] == ["separator", "1"] and '"\\n" "\\n"' in line for line in lines)
    off = str(shown(options, chat_template="off"))
    assert "separator          the end-of-sequence token\n" in off


def test_what_has_no_shape_is_seen_in_quotation_marks() -> None:
    assert quoted('a\u00a0"b"\n\u200bé') == '"a\\u00a0\\"b\\"\\n\\u200bé"'
    assert json.loads(quoted("\u2028x\U000e0001")) == "\u2028x\U000e0001"


def test_no_weights_are_needed(options: dict[str, Any], chat: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in chat.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    assert shown(options, model=str(bare)).icl == shown(options).icl


def test_a_model_and_a_task_in_memory_are_shown_alike(options: dict[str, Any]) -> None:
    rest = {name: options[name] for name in ("shots", "limit", "chat_template")}
    view = show_prompt(model=load_model(options["model"], device="cpu"), task=task_of(options), **rest)
    assert view.icl == shown(options).icl


def test_a_query_that_is_not_asked_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"query 99 is not among the 4 that are asked"):
        shown(options, query=99)


def test_yamls_off_is_off() -> None:
    for value in (False, "off"):
        assert make_config(SubjectConfig, {"chat_template": value}, "test").chat_template == "off"
    with pytest.raises(UserError, match="chat_template cannot be True"):
        make_config(SubjectConfig, {"chat_template": True}, "test")


def test_the_turn_reaches_everything_that_builds_prompts(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SubjectConfig(**options)
    subject = load_subject(config)
    model, task = subject.model, subject.task
    assert task.template.chat_template == "user_turn"
    assert subject.named(config).chat_template == "user_turn"
    cell = prepare_cell(config, model, task, 0)
    head = cell.prompts.zero_shot.prefix_ids
    answered = model.require_tokenizer().convert_tokens_to_ids(["<turn>", "assistant", "\n"])
    assert cell.prompts.chat_template == "user_turn" and len(head) == 3
    # Controls alter what stands between the head of the turn and the query.
    other = task_of(options)
    assert other.template.chat_template == "off"
    for altered in (with_shuffled_prefix(cell), with_other_task(cell, model, other)):
        prefix = altered.prompts.icl.prefix_ids
        assert prefix[:3] == head and len(prefix) == len(cell.prompts.icl.prefix_ids)
        assert altered.prompts.icl.query_ids == cell.prompts.icl.query_ids
    assert (
        with_other_task(cell, model, other).prompts.icl.prefix_ids[-2:]
        == cell.prompts.shown[-1].separator_ids
    )
    # So are the records on which a learning rate is chosen.
    held_out: list[Any] = []
    choose = learning_rate.search_learning_rate

    def spy(model: Any, training: Any, records: Any, *rest: Any, **named: Any) -> Any:
        held_out.extend(records)
        return choose(model, training, records, *rest, **named)

    monkeypatch.setattr("iclprobe.analyses.learning_rates.search_learning_rate", spy)
    recipe = load_recipe("dai").model_copy(update={"learning_rate": "auto"})
    learning_rate_for(config, recipe, model, task, cell, candidates=(1e-3, 1e-2))
    assert held_out
    for sequence in (*held_out, *cell.prompts.training):
        assert sequence.ids[:3] == head
        assert list(sequence.ids[sequence.label_start - 3 : sequence.label_start]) == answered


def test_a_task_in_memory_that_is_asked_in_a_chat_says_so_in_the_result(options: dict[str, Any]) -> None:
    subject = load_subject(SubjectConfig(**options))
    study = iclprobe.gradients(
        model=subject.model, task=subject.task, shots=2, recipes=("dai",), learning_rate=1e-3
    )
    assert study.config.chat_template == "user_turn"
    assert "one user turn of the tokenizer's chat template" in " ".join(study.table().split())


@pytest.mark.parametrize("experiment", ["compare", "controls", "order", "outputs", "gradients"])
def test_every_study_keeps_a_whole_prompt(experiment: str, options: dict[str, Any], tmp_path: Path) -> None:
    arms = {"arms": ("shen",), "learning_rates": 1e-3, "epochs": 1, "seeds": 0}
    own: dict[str, Any] = {
        "compare": {"learning_rate": 1e-3},
        "controls": {"controls": ("none", "shuffled_prefix"), "learning_rate": 1e-3},
        "order": {**arms, "orders": 2},
        "outputs": {**arms, "shots": 2},
        "gradients": {"recipes": ("dai",), "learning_rate": 1e-3},
    }[experiment]
    getattr(iclprobe, experiment)(**(options | own), out=tmp_path / "run")
    study = load_study(tmp_path / "run")
    # No query is asked for gradients, so prompts are built with one.
    view = shown(options | ({"limit": 1} if experiment == "gradients" else {}))
    prompts = study.tables["prompts"]
    if experiment == "controls":
        shuffled = prompts[(prompts["control"] == "shuffled_prefix") & (prompts["setting"] == "icl")]
        prompts = prompts[prompts["control"] == "none"]
        assert "context" in set(shuffled["part"])
    assert set(prompts["model"]) == {options["model"]} and study.config.chat_template == "user_turn"
    for setting, whole in (("zero-shot", view.zero_shot), ("icl", view.icl)):
        parts = prompts[prompts["setting"] == setting]
        assert tuple(parts["part"]) == tuple(part.name for part in whole.parts)
        for column in ("ids", "tokens"):
            kept = tuple(each for text in parts[column] for each in json.loads(text))
            assert kept == getattr(whole, column)
    assert list(prompts[prompts["setting"] == "option"]["part"]) == list(view.options)
    assert "one user turn of the tokenizer's chat template" in " ".join(study.table().split())


def test_captured_text_of_a_rendered_chat_is_the_prompt_of_the_turn(options: dict[str, Any]) -> None:
    model = load_model(options["model"], device="cpu")
    view = shown(options)
    tokenizer: Any = model.require_tokenizer()
    # This template writes no begin-of-sequence token, so the tokenizer adds it to a text, and not to a turn.
    text = "<turn>user\n" + "Sentence: the cake is sweet Label:" + "<end>\n<turn>assistant\n"
    said = [{"role": "user", "content": "Sentence: the cake is sweet Label:"}]
    assert text == tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert as_prompt_set(model, text).prefix_ids == (tokenizer.bos_token_id,)
    assert view.begin is None
    tokenizer.chat_template = "{{ bos_token }}" + CHAT
    written = show_prompt(model=model, task=task_of(options), chat_template="user_turn", shots=2)
    assert written.begin is not None and written.begin.ids == (tokenizer.bos_token_id,)
    got = as_prompt_set(model, written.zero_shot.text)
    assert got.prefix_ids == written.begin.ids and got.full_ids(0)[1] != tokenizer.bos_token_id


@pytest.mark.real
def test_a_real_chat_model_is_compared_in_its_own_turns() -> None:
    result = iclprobe.compare(
        model=str(real_model("smollm2-135m-instruct")),
        task="sst2",
        data=str(shared("data/sst2")),
        chat_template="user_turn",
        shots=2,
        limit=4,
        learning_rate=1e-3,
        device="cpu",
    )
    prompts = result.tables["prompts"]
    icl = "".join(prompts.loc[prompts["setting"] == "icl", "text"])
    assert icl.endswith("Label:<|im_end|>\n<|im_start|>assistant\n")
    assert "one user turn of the tokenizer's chat template" in " ".join(result.table().split())
    assert result.tables["similarities"]["SimAOU"].notna().all()
