"""What a tokenizer adds in front is found; continuations and separators are what they add to a text."""

from __future__ import annotations

import pytest
from made_tokenizers import word_tokenizer
from shared_material import TOKENIZERS, shared_tokenizer

from iclprobe.errors import UserError
from iclprobe.tasks.encoding import begin_of_sequence, continuations, encode, is_unknown, separator_ids
from iclprobe.tasks.task import END_OF_SEQUENCE

TEXT = "a fine film: good\n"


def pieces(name: str, text: str) -> list[str]:
    tokenizer = shared_tokenizer(name)
    return [str(token) for token in tokenizer.convert_ids_to_tokens(list(encode(tokenizer, [text])[0]))]


@pytest.mark.parametrize(
    ("name", "expected"), [("stories260k", (1,)), ("babyllama-tok105", (1,)), ("gpt2-tokenizer", ())]
)
def test_the_begin_of_sequence_token_is_there_where_the_tokenizer_adds_one(
    name: str, expected: tuple[int, ...]
) -> None:
    assert begin_of_sequence(shared_tokenizer(name), "Review: fine") == expected


def test_a_token_that_the_tokenizer_has_and_does_not_add_stays_out() -> None:
    assert begin_of_sequence(word_tokenizer(TEXT, bos_token="<s>", eos_token="</s>"), "a film") == ()


def test_an_added_end_of_sequence_token_stays_out() -> None:
    tokenizer = word_tokenizer(TEXT, front=("<s>",), back=("</s>",), bos_token="<s>", eos_token="</s>")
    assert tokenizer("a")["input_ids"] == [1, 3, 2]
    assert begin_of_sequence(tokenizer, "a") == (1,)
    assert begin_of_sequence(word_tokenizer(TEXT, back=("</s>",), eos_token="</s>"), "a") == ()


def test_an_end_of_sequence_token_that_stands_at_the_front_is_found() -> None:
    tokenizer = word_tokenizer(TEXT, front=("</s>",), eos_token="</s>")
    assert begin_of_sequence(tokenizer, "a film") == (tokenizer.eos_token_id,)


def test_two_tokens_in_front_are_refused() -> None:
    with pytest.raises(UserError, match=r"puts 2 tokens in front of every text \(<m> <s>\)"):
        begin_of_sequence(word_tokenizer(TEXT, front=("<m>", "<s>")), "a")


def test_a_sentencepiece_label_is_what_it_adds_to_the_text_not_what_it_is_alone() -> None:
    tokenizer = shared_tokenizer("stories260k")
    text = "Review: fine. Sentiment:"
    (label,) = continuations(tokenizer, [text], encode(tokenizer, [text]), [" positive"])
    assert tokenizer.convert_ids_to_tokens(list(label)) == ["▁p", "o", "s", "it", "i", "ve"]
    assert len(encode(tokenizer, [" positive"])[0]) == 7
    assert encode(tokenizer, [text + " positive"])[0] == encode(tokenizer, [text])[0] + label


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("word", [" Positive", " great", " Neither", " x y", " Sports!"])
def test_text_and_continuation_are_the_tokens_of_the_whole(name: str, word: str) -> None:
    tokenizer = shared_tokenizer(name)
    texts = ["Review: a fine film . Sentiment:", "P\nquestion: Q. true?\nanswer:", "News: 3 % -- Type:"]
    ids = encode(tokenizer, texts)
    added = continuations(tokenizer, texts, ids, [word] * 3)
    assert [mine + label for mine, label in zip(ids, added, strict=True)] == encode(
        tokenizer, [text + word for text in texts]
    )
    assert all(added)


def test_a_label_that_merges_with_the_text_is_refused_with_text_and_tokens() -> None:
    tokenizer = shared_tokenizer("gpt2-tokenizer")
    text = "Review: fine. Sentiment: "
    with pytest.raises(UserError) as refusal:
        continuations(tokenizer, [text], encode(tokenizer, [text]), ["Positive"])
    assert repr(text) in str(refusal.value)
    assert "iment : Ġ at its end" in str(refusal.value)
    assert "iment : ĠPositive" in str(refusal.value)


def test_a_continuation_that_adds_no_token_is_refused() -> None:
    tokenizer = shared_tokenizer("babyllama-tok105")
    with pytest.raises(UserError, match="no tokens of its own"):
        continuations(tokenizer, ["a\n"], encode(tokenizer, ["a\n"]), ["\n"])


@pytest.mark.parametrize(
    ("name", "separator", "expected"),
    [
        ("stories260k", END_OF_SEQUENCE, ["</s>"]),
        ("gpt2-tokenizer", END_OF_SEQUENCE, ["<|endoftext|>"]),
        ("stories260k", "\n", ["<0x0A>"]),
        ("stories260k", "\n\n", ["<0x0A>", "<0x0A>"]),
        ("gpt2-tokenizer", "\n\n", ["ĊĊ"]),
        ("gpt2-tokenizer", "\n", ["Ċ"]),
        ("babyllama-tok105", " ", ["▁"]),
        ("babyllama-tok105", "\n\n", ["<unk>"]),
        ("babyllama-tok105", " ; ", ["▁", ";", "▁"]),
        ("stories260k", "", []),
    ],
)
def test_a_separator_is_the_tokens_that_it_adds_after_the_text(
    name: str, separator: str, expected: list[str]
) -> None:
    tokenizer = shared_tokenizer(name)
    text = "Review: fine Sentiment: Positive"
    ids = separator_ids(tokenizer, separator, text, encode(tokenizer, [text])[0])
    assert tokenizer.convert_ids_to_tokens(list(ids)) == expected


def test_a_separator_that_would_merge_keeps_its_own_tokens() -> None:
    tokenizer = shared_tokenizer("gpt2-tokenizer")
    text = "Sentiment: Posit"
    assert pieces("gpt2-tokenizer", text + "ive.")[-2:] == ["ĠPositive", "."]
    ids = separator_ids(tokenizer, "ive.", text, encode(tokenizer, [text])[0])
    assert tokenizer.convert_ids_to_tokens(list(ids)) == ["ive", "."]


def test_a_separator_that_dissolves_in_an_unknown_token_is_not_lost() -> None:
    tokenizer = shared_tokenizer("babyllama-tok105")
    assert encode(tokenizer, ["a\n"]) == encode(tokenizer, ["a\n\n"])
    ids = separator_ids(tokenizer, "\n", "a\n", encode(tokenizer, ["a\n"])[0])
    assert tokenizer.unk_token_id in ids


def test_a_tokenizer_without_an_end_of_sequence_token_needs_another_separator() -> None:
    with pytest.raises(UserError, match="has none: give a separator"):
        separator_ids(word_tokenizer(TEXT), END_OF_SEQUENCE, "a", (1,))


def test_an_unknown_token_that_is_also_the_end_of_sequence_does_not_count_as_unknown() -> None:
    gpt2, baby = shared_tokenizer("gpt2-tokenizer"), shared_tokenizer("babyllama-tok105")
    assert gpt2.unk_token_id == gpt2.eos_token_id
    assert not is_unknown(gpt2, (50256,))
    assert is_unknown(baby, (4, 0))
    assert not is_unknown(baby, (4, 2))
