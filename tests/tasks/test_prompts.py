"""Prompts are exact: tokens worked by hand, and the papers' text after decoding."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy
import pytest
from made_tokenizers import word_tokenizer
from shared_material import TOKENIZERS, shared_tokenizer

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.demonstrations import draw_demonstrations
from iclprobe.tasks.prompts import PromptSet, TrainingSequence, build_prompts
from iclprobe.tasks.spans import Span
from iclprobe.tasks.task import END_OF_SEQUENCE, Record, Template

TEMPLATE = Template("t", "Review: {text} Sentiment:", ("Negative", "Positive"), END_OF_SEQUENCE)
WORDS = "one two three four five six seven eight nine ten : is good bad very\n"
COUNTING = Template("t", "{text}:", ("bad", "good"), "\n", label_prefix="")


def records(*texts: str, labels: tuple[int, ...] | None = None) -> tuple[Record, ...]:
    return tuple(
        Record({"text": text}, labels[index] if labels else index % 2) for index, text in enumerate(texts)
    )


def random_records(count: int, seed: int) -> tuple[Record, ...]:
    generator = numpy.random.default_rng(seed)
    words = [
        "fine",
        "film",
        "Ünïcode",
        "3%",
        "the",
        "end .",
        "it 's",
        "--",
        "(so)",
        "café",
        "a",
        "…",
        "x" * 9,
    ]
    texts = [" ".join(generator.choice(words, size=generator.integers(1, 7))) for _ in range(count)]
    return tuple(Record({"text": text}, int(generator.integers(2))) for text in texts)


def test_a_hand_worked_example_token_by_token() -> None:
    tokenizer = word_tokenizer("a b c : no yes\n", front=("<s>",), bos_token="<s>")
    # <unk> 0, <s> 1, a 2, space 3, b 4, c 5, ":" 6, no 7, yes 8, newline 9
    template = Template("t", "{text}:", ("no", "yes"), "\n")
    prompts = build_prompts(tokenizer, template, records("a", "b"), records("c a", "b", labels=(1, 0)), None)
    demonstrations = (2, 6, 3, 7, 9, 4, 6, 3, 8, 9)
    queries, labels = ((5, 3, 2, 6), (4, 6)), (((3, 7), (3, 8)),) * 2
    begin, asked = Span("begin", 0, 1), ((Span("query", 0, 4),), (Span("query", 0, 2),))
    assert prompts.zero_shot == PromptSet((1,), queries, labels, (1, 0), 1, (begin,), asked)
    context = (
        *(begin, Span("demonstration_input", 1, 3, 0, 0), Span("demonstration_label", 3, 5, 0, 0)),
        *(Span("separator", 5, 6, 0, 0), Span("demonstration_input", 6, 8, 1, 1)),
        *(Span("demonstration_label", 8, 10, 1, 1), Span("separator", 10, 11, 1, 1)),
    )
    assert prompts.icl == PromptSet((1, *demonstrations), queries, labels, (1, 0), 1, context, asked)
    assert prompts.training == tuple(
        TrainingSequence(ids, 3, labels[0]) for ids in ((1, 2, 6, 3, 7), (1, 4, 6, 3, 8))
    )
    assert (prompts.demonstrations_used, prompts.demonstrations_asked) == (2, 2)
    assert (prompts.query_indices, prompts.queries_skipped, prompts.separator_unknown) == ((0, 1), 0, False)


@pytest.mark.parametrize(
    ("name", "separator", "expected"),
    [
        (
            "stories260k",
            END_OF_SEQUENCE,
            "<s> Review: dull . Sentiment: Negative</s> Review: fine Sentiment: Positive</s>"
            " Review: so so Sentiment:",
        ),
        (
            "stories260k",
            "\n\n",
            "<s> Review: dull . Sentiment: Negative\n\n Review: fine Sentiment: Positive\n\n"
            " Review: so so Sentiment:",
        ),
        (
            "babyllama-tok105",
            " ",
            "<s> Review: dull . Sentiment: Negative  Review: fine Sentiment: Positive "
            " Review: so so Sentiment:",
        ),
        (
            "gpt2-tokenizer",
            END_OF_SEQUENCE,
            "Review: dull . Sentiment: Negative<|endoftext|>Review: fine Sentiment: Positive<|endoftext|>"
            "Review: so so Sentiment:",
        ),
        (
            "gpt2-tokenizer",
            "\n",
            "Review: dull . Sentiment: Negative\nReview: fine Sentiment: Positive\nReview: so so Sentiment:",
        ),
    ],
)
def test_in_context_prompts_decode_to_the_papers_text(name: str, separator: str, expected: str) -> None:
    tokenizer = shared_tokenizer(name)
    template = Template("t", TEMPLATE.query, TEMPLATE.label_words, separator)
    prompts = build_prompts(tokenizer, template, records("dull .", "fine"), records("so so"), None)
    assert tokenizer.decode(list(prompts.icl.full_ids(0))) == expected


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("separator", [END_OF_SEQUENCE, " | ", "\n"])
@pytest.mark.filterwarnings("ignore:The separator")
def test_every_piece_is_the_tokens_of_its_own_text(name: str, separator: str) -> None:
    """The slow way: tokenise each rendered text on its own, whole, and lay the pieces end to end."""
    tokenizer = shared_tokenizer(name)
    template = Template("t", TEMPLATE.query, TEMPLATE.label_words, separator)
    demonstrations, queries = random_records(5, 0), random_records(40, 1)
    prompts = build_prompts(tokenizer, template, demonstrations, queries, None)

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    begin = () if name == "gpt2-tokenizer" else (tokenizer.bos_token_id,)
    assert prompts.zero_shot.prefix_ids == begin
    assert prompts.zero_shot.bos_length == prompts.icl.bos_length == len(begin)
    rest = prompts.icl.prefix_ids[len(begin) :]
    for record, sequence in zip(demonstrations, prompts.training, strict=True):
        text = f"Review: {record.fields['text']} Sentiment:"
        whole = tokens(text + template.label_text(record.label))
        assert rest[: len(whole)] == whole
        assert sequence.ids == begin + whole
        assert sequence.ids[: sequence.label_start] == begin + tokens(text)
        rest = rest[len(whole) :]
        if separator == END_OF_SEQUENCE:
            between = (tokenizer.eos_token_id,)
        else:
            between = tokens(text + template.label_text(record.label) + separator)[len(whole) :]
        assert rest[: len(between)] == between
        rest = rest[len(between) :]
    assert rest == ()
    for index, record in enumerate(queries):
        text = f"Review: {record.fields['text']} Sentiment:"
        assert prompts.icl.query_ids[index] == prompts.zero_shot.query_ids[index] == tokens(text)
        for label in (0, 1):
            continuation = prompts.icl.label_ids[index][label]
            assert tokens(text) + continuation == tokens(text + template.label_text(label))
        if begin:
            assert prompts.zero_shot.full_ids(index) == tuple(tokenizer.encode(text))
    assert prompts.icl.gold == tuple(record.label for record in queries)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_query_columns_are_the_same_in_both_settings(name: str) -> None:
    prompts = build_prompts(
        shared_tokenizer(name), TEMPLATE, random_records(3, 4), random_records(20, 5), None
    )
    before = len(prompts.icl.prefix_ids) - len(prompts.zero_shot.prefix_ids)
    for index in range(20):
        zero_shot, icl = prompts.zero_shot.full_ids(index), prompts.icl.full_ids(index)
        assert icl[before + prompts.icl.bos_length :] == zero_shot[prompts.zero_shot.bos_length :]


@pytest.mark.parametrize("name", ["stories260k", "babyllama-tok105"])
def test_begin_of_sequence_stands_once_at_the_front_in_every_setting(name: str) -> None:
    prompts = build_prompts(
        shared_tokenizer(name), TEMPLATE, random_records(4, 6), random_records(5, 7), None
    )
    sequences = [
        prompts.zero_shot.full_ids(0),
        prompts.icl.full_ids(0),
        *(each.ids for each in prompts.training),
    ]
    assert all(ids[0] == 1 and 1 not in ids[1:] for ids in sequences)


def test_a_begin_of_sequence_token_written_into_the_template_is_refused() -> None:
    template = Template("t", "<s>{text}:", ("no", "yes"), "\n")
    with pytest.raises(UserError, match="begins with '<s>', which this tokenizer puts in front by itself"):
        build_prompts(shared_tokenizer("stories260k"), template, records("a"), records("b"), None)
    # One text among others is enough, be it a demonstration's.
    plain = Template("t", "{text}:", ("no", "yes"), "\n")
    for shown, asked in ((("<s>a", "b"), ("c", "d")), (("a", "b"), ("c", "<s>d"))):
        with pytest.raises(UserError, match="begins with '<s>'"):
            build_prompts(shared_tokenizer("stories260k"), plain, records(*shown), records(*asked), None)


def test_an_end_token_that_the_tokenizer_adds_appears_nowhere() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",), back=("</s>",), eos_token="</s>")
    prompts = build_prompts(tokenizer, COUNTING, records("one", "two"), records("three"), None)
    ids = {*prompts.icl.full_ids(0), *prompts.training[0].ids, *prompts.icl.label_ids[0][0]}
    assert tokenizer.eos_token_id not in ids


def test_a_query_without_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="Query 1, counted from 0, has no tokens"):
        build_prompts(
            shared_tokenizer("gpt2-tokenizer"),
            Template("t", "{text}", (" a", " b"), "\n", ""),
            (),
            records("x", ""),
            None,
        )


def test_label_words_that_are_the_same_tokens_are_refused() -> None:
    template = Template("t", "{text}:", ("known", "strange"), "\n", label_prefix="")
    with pytest.raises(UserError, match="label words 'known' and 'strange' have the same tokens"):
        build_prompts(word_tokenizer(WORDS), template, records("one"), records("two"), None)


def test_label_words_that_merge_with_the_query_are_refused() -> None:
    template = Template("t", "Review: {text} Sentiment: ", ("Negative", "Positive"), "\n", label_prefix="")
    with pytest.raises(UserError, match="'Negative' has no tokens of its own"):
        build_prompts(shared_tokenizer("gpt2-tokenizer"), template, records("one"), records("two"), None)


def test_a_separator_that_is_the_unknown_token_is_warned_about_and_flagged() -> None:
    tokenizer = shared_tokenizer("babyllama-tok105")
    template = Template("t", TEMPLATE.query, TEMPLATE.label_words, "\n\n")
    with pytest.warns(UserWarning, match=r"The separator '\\n\\n' is .* the unknown token"):
        prompts = build_prompts(tokenizer, template, records("a"), records("b"), None)
    assert prompts.separator_unknown


def test_a_warning_points_at_whoever_asked_for_the_prompts() -> None:
    template = Template("t", TEMPLATE.query, TEMPLATE.label_words, "\n\n")
    with pytest.warns(UserWarning, match="unknown token") as warned:
        build_prompts(shared_tokenizer("babyllama-tok105"), template, records("a"), records("b"), None)
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("gpt2-tokenizer", END_OF_SEQUENCE),
        ("gpt2-tokenizer", "\n"),
        ("babyllama-tok105", " "),
        ("stories260k", "\n"),
    ],
)
def test_known_separators_are_not_warned_about(name: str, separator: str) -> None:
    template = Template("t", TEMPLATE.query, TEMPLATE.label_words, separator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompts = build_prompts(shared_tokenizer(name), template, records("a"), records("b"), None)
    assert not prompts.separator_unknown


def test_without_an_end_of_sequence_token_the_dai_separator_is_refused() -> None:
    template = Template("t", "{text}:", ("bad", "good"), END_OF_SEQUENCE, label_prefix="")
    with pytest.raises(UserError, match="has none: give a separator"):
        build_prompts(word_tokenizer(WORDS), template, records("one"), records("two"), None)


def test_one_order_serves_both_ways_of_learning() -> None:
    tokenizer = shared_tokenizer("stories260k")
    task = load_task("pocket-tone")
    demonstrations = draw_demonstrations(task, 6, 0, order=3)
    prompts = build_prompts(tokenizer, task.template, demonstrations, task.validation[:2], None)
    places = []
    for sequence in prompts.training:
        content = sequence.ids[1:]
        starts = range(len(prompts.icl.prefix_ids) - len(content) + 1)
        places.append(next(i for i in starts if prompts.icl.prefix_ids[i : i + len(content)] == content))
    assert all(before < after for before, after in pairwise(places))
