"""Prompts as one user turn of a chat: the tokens are the tokenizer's own rendering, the answer is the assistant's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_tokenizers import CHAT, chat_tokenizer, word_tokenizer
from shared_material import TOKENIZERS, real_model, shared

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.demonstrations import draw_demonstrations
from iclprobe.tasks.frame import frame_of
from iclprobe.tasks.prompts import build_prompts, shown_demonstrations, training_sequences
from iclprobe.tasks.task import END_OF_SEQUENCE, Record, Template

TEMPLATE = Template("t", "film {text} is", ("bad", "good"), "\n\n", chat_template="user_turn")
WORDS = "film is bad good one two three [/]{}"
SYSTEM = "{{ bos_token }}<turn>system\nfilm<end>\n" + CHAT
STRIPPING = CHAT.replace("message['content']", "(message['content'] | trim)")
INSTRUCTION = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + '</s>' }}"
    "{% endif %}{% endfor %}"
)
THINKING = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}"
)


def records(*texts: str) -> tuple[Record, ...]:
    return tuple(Record({"text": text}, index % 2) for index, text in enumerate(texts))


def chat_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """What the tokenizer itself makes of a chat in which the user has said `text`."""
    said = [{"role": "user", "content": text}]
    return tuple(tokenizer.apply_chat_template(said, add_generation_prompt=True)["input_ids"])


def with_chat(name: str, template: str = INSTRUCTION) -> Any:
    """A private copy of a shared tokenizer, with a chat template whose turns are plain text to it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared(f"models/{name}"))
    tokenizer.chat_template = template
    return tokenizer


def test_a_hand_worked_turn_token_by_token() -> None:
    tokenizer: Any = chat_tokenizer(WORDS)
    prompts = build_prompts(tokenizer, TEMPLATE, records("one", "two"), records("three"), None)

    def ids(*tokens: str) -> tuple[int, ...]:
        return tuple(tokenizer.convert_tokens_to_ids(token) for token in tokens)

    head, tail = ids("<turn>", "user", "\n"), ids("<end>", "\n", "<turn>", "assistant", "\n")
    asked = {text: ids("film", " ", text, " ", "is") for text in ("one", "two", "three")}
    demonstrations = (
        *asked["one"],
        *ids(" ", "bad", "\n", "\n"),
        *asked["two"],
        *ids(" ", "good", "\n", "\n"),
    )
    options = (ids("bad"), ids("good"))
    assert prompts.zero_shot.prefix_ids == head
    assert prompts.zero_shot.query_ids == prompts.icl.query_ids == (asked["three"] + tail,)
    assert prompts.icl.prefix_ids == head + demonstrations
    assert prompts.zero_shot.label_ids == (options,)
    assert (prompts.zero_shot.bos_length, prompts.icl.bos_length, prompts.tail_ids) == (0, 0, tail)
    assert [each.ids for each in prompts.training] == [
        head + asked["one"] + tail + options[0],
        head + asked["two"] + tail + options[1],
    ]
    assert [each.label_start for each in prompts.training] == [len(head + asked["one"] + tail)] * 2
    assert training_sequences(tokenizer, TEMPLATE, records("one", "two"), None) == prompts.training
    assert shown_demonstrations(tokenizer, TEMPLATE, records("one", "two")) == prompts.shown
    assert (prompts.chat_template, prompts.notes) == ("user_turn", ())


@pytest.mark.parametrize("template", [CHAT, SYSTEM, STRIPPING, THINKING])
@pytest.mark.parametrize("front", [(), ("<s>",)])
def test_whole_prompts_have_the_tokens_of_the_rendered_chat(template: str, front: tuple[str, ...]) -> None:
    tokenizer = chat_tokenizer(WORDS + " system<think>/", template, front=front, bos_token="<s>")
    prompts = build_prompts(tokenizer, TEMPLATE, records("one", "two"), records("three", "one two"), None)
    context = "film one is bad\n\nfilm two is good\n\n"
    for index, text in enumerate(("three", "one two")):
        assert prompts.zero_shot.full_ids(index) == chat_ids(tokenizer, f"film {text} is")
        assert prompts.icl.full_ids(index) == chat_ids(tokenizer, f"{context}film {text} is")
    # The template writes the begin-of-sequence token or does not; the tokenizer adds no other one.
    written = template == SYSTEM
    begin = tokenizer.bos_token_id
    assert prompts.icl.full_ids(0).count(begin) == int(written)
    assert prompts.icl.bos_length == prompts.zero_shot.bos_length == int(written and bool(front))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", ["dull .", "Ünïcode 3% --", "it 's\nfine"])
def test_boundaries_are_those_of_one_tokenisation(name: str, text: str) -> None:
    """The head ends in a space that SentencePiece joins to the first word; the tail begins in one."""
    tokenizer = with_chat(name)
    if name == "gpt2-tokenizer":
        tokenizer.chat_template = INSTRUCTION.removeprefix("{{ bos_token }}")
    template = Template(
        "t", "Review: {text} Sentiment:", ("Negative", "Positive"), " ; ", chat_template="user_turn"
    )
    prompts = build_prompts(tokenizer, template, records("fine", "so so"), records(text), None)
    whole = chat_ids(tokenizer, f"Review: {text} Sentiment:")
    assert prompts.zero_shot.full_ids(0) == whole
    front = len(prompts.zero_shot.prefix_ids)
    assert prompts.icl.full_ids(0)[len(prompts.icl.prefix_ids) :] == whole[front:]
    begin = () if name == "gpt2-tokenizer" else (tokenizer.bos_token_id,)
    assert whole[: len(begin)] == begin and prompts.zero_shot.bos_length == len(begin)
    # The assistant's text begins with the space that the template puts there.
    for word, option in zip(template.label_words, prompts.zero_shot.label_ids[0], strict=True):
        answered = tokenizer.apply_chat_template(
            [
                {"role": "user", "content": f"Review: {text} Sentiment:"},
                {"role": "assistant", "content": word},
            ]
        )["input_ids"]
        assert tuple(answered[: len(whole) + len(option)]) == whole + option


def test_white_space_that_the_template_strips_is_no_part_of_the_prompt() -> None:
    spaced = replace(TEMPLATE, query=" \n{text} film ")
    for template, start, end in ((STRIPPING, "", ""), (CHAT, " \n", " ")):
        tokenizer = chat_tokenizer(WORDS, template)
        prompts = build_prompts(tokenizer, spaced, records("one"), records("three"), None)
        assert prompts.zero_shot.full_ids(0) == chat_ids(tokenizer, f"{start}three film{end}")
        # Inside the turn nothing is stripped: the demonstration keeps the space before its label.
        context = f"{start}one film  bad\n\n"
        assert prompts.icl.full_ids(0) == chat_ids(tokenizer, f"{context}{start}three film{end}")


def test_an_end_of_sequence_separator_would_end_the_turn() -> None:
    tokenizer = chat_tokenizer(WORDS)
    template = replace(TEMPLATE, separator=END_OF_SEQUENCE)
    prompts = build_prompts(tokenizer, template, records("one", "two"), records("three"), None)
    assert prompts.separator == "\n\n"
    assert (
        prompts.icl == build_prompts(tokenizer, TEMPLATE, records("one", "two"), records("three"), None).icl
    )
    chosen = replace(template, separator_given=True)
    kept = build_prompts(tokenizer, chosen, records("one", "two"), records("three"), None)
    assert kept.separator == END_OF_SEQUENCE
    assert all(each.separator_ids == (tokenizer.eos_token_id,) for each in kept.shown)
    plain = build_prompts(
        tokenizer, replace(template, chat_template="off"), records("one"), records("two"), None
    )
    assert plain.separator == END_OF_SEQUENCE


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        (CHAT, ""),
        (THINKING, ""),
        (CHAT.replace("'\n' + message['content']", "'\n ' + message['content']"), " "),
    ],
)
def test_the_answer_begins_as_the_assistants_text_does(template: str, prefix: str) -> None:
    tokenizer = chat_tokenizer(WORDS + " <think>/", template)
    frame = frame_of(tokenizer, TEMPLATE)
    assert frame.label_prefix == prefix
    assert frame.answer(TEMPLATE, 1) == prefix + "good"


def test_the_context_window_counts_the_turn() -> None:
    tokenizer = chat_tokenizer(WORDS)
    # Head 3, query and tail 10 with a label of 1; a demonstration with its label and separator takes 9.
    fitting = [
        build_prompts(tokenizer, TEMPLATE, records("one", "two"), records("three"), limit).demonstrations_used
        for limit in (24, 32, 33)
    ]
    assert fitting == [1, 1, 2]
    with pytest.raises(UserError, match="shortest takes 14 with its label"):
        build_prompts(tokenizer, TEMPLATE, (), records("three"), 13)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template: take a model that has been tuned to chat"),
        ("{{ raise_exception('no user here') }}", r"cannot write a user turn \(no user here\)"),
        ("{{ messages[0]['role'] }}", "does not write a user's text once"),
        ("{{ messages[0]['content'] * 2 }}", "does not write a user's text once"),
        ("{{ messages[0]['content'] | replace('one', 'two') }}:", "does not write 'film one is' as it is"),
        ("{{ messages[0]['content'] + '\n' }}{{ messages[0]['content'] | upper }}", "does not write 'film"),
    ],
)
def test_templates_that_do_not_write_what_the_user_says_are_refused(template: Any, message: str) -> None:
    tokenizer = chat_tokenizer(WORDS, template)
    with pytest.raises(UserError, match=message):
        build_prompts(tokenizer, TEMPLATE, (), records("one"), None)


def test_a_text_that_would_end_its_turn_is_refused() -> None:
    with pytest.raises(UserError, match="A text holds '<end>', which the chat template itself writes"):
        build_prompts(chat_tokenizer(WORDS), TEMPLATE, (), records("one<end>"), None)


def test_an_empty_text_and_an_unknown_setting_are_refused() -> None:
    bare = replace(TEMPLATE, query="{text}")
    with pytest.raises(UserError, match="Query 0, counted from 0, has no tokens"):
        build_prompts(chat_tokenizer(WORDS), bare, (), records(" "), None)
    wrong: Any = "assistant_turn"
    with pytest.raises(
        UserError, match="no chat template setting 'assistant_turn': choose from off, user_turn"
    ):
        build_prompts(word_tokenizer(WORDS), replace(TEMPLATE, chat_template=wrong), (), records("one"), None)


def test_off_is_the_default_and_leaves_prompts_plain() -> None:
    tokenizer = chat_tokenizer(WORDS)
    plain = replace(TEMPLATE, chat_template="off")
    prompts = build_prompts(tokenizer, plain, records("one"), records("three"), None)
    assert Template("t", "{text}", ("a", "b"), "\n").chat_template == "off"
    whole = list(prompts.zero_shot.full_ids(0))
    assert tokenizer.convert_ids_to_tokens(whole) == ["film", " ", "three", " ", "is"]
    assert prompts.tail_ids == () and prompts.zero_shot.prefix_ids == ()


@pytest.mark.real
@pytest.mark.parametrize("name", ["sst2", "agnews", "rte", "cb"])
@pytest.mark.parametrize("variant", ["dai", "shen"])
def test_a_real_chat_model_is_sent_what_its_own_template_writes(name: str, variant: str) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(real_model("smollm2-135m-instruct"))
    task = load_task(name, data=shared(f"data/{name}"), template=variant)
    template = replace(task.template, chat_template="user_turn")
    demonstrations = draw_demonstrations(task, 4, 0)
    prompts = build_prompts(tokenizer, template, demonstrations, task.validation[:25], None)
    context = "".join(
        template.render(record) + template.label_text(record.label) + "\n\n" for record in demonstrations
    )
    for index, record in enumerate(task.validation[:25]):
        assert prompts.zero_shot.full_ids(index) == chat_ids(tokenizer, template.render(record))
        assert prompts.icl.full_ids(index) == chat_ids(tokenizer, context + template.render(record))
    assert tokenizer.decode(list(prompts.zero_shot.full_ids(0))).endswith("<|im_start|>assistant\n")
    assert tokenizer.convert_ids_to_tokens([options[0] for options in prompts.zero_shot.label_ids[0]]) == [
        str(tokenizer.tokenize(word)[0]) for word in template.label_words
    ]


@pytest.mark.real
def test_a_written_begin_of_sequence_token_is_not_doubled_by_a_real_tokenizer() -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(real_model("gemma3-270m"))
    with pytest.raises(UserError, match="has no chat template"):
        build_prompts(tokenizer, TEMPLATE, (), records("one"), None)
    # The instruction-tuned models of this family write turns so.
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n'"
        " + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    )
    prompts = build_prompts(tokenizer, TEMPLATE, records("one", "two"), records("three"), None)
    assert prompts.zero_shot.full_ids(0) == chat_ids(tokenizer, "film three is")
    assert prompts.icl.full_ids(0) == chat_ids(
        tokenizer, "film one is bad\n\nfilm two is good\n\nfilm three is"
    )
    assert prompts.icl.full_ids(0).count(tokenizer.bos_token_id) == 1
    assert (prompts.zero_shot.bos_length, prompts.zero_shot.prefix_ids[0]) == (1, tokenizer.bos_token_id)
