"""What a tokenizer does not show of a template is refused, or said where the user wants it so."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_tokenizers import folding_tokenizer, word_tokenizer
from shared_material import shared_tokenizer

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.encoding import encode, separator_ids, vanishes
from iclprobe.tasks.prompts import build_prompts, shown_demonstrations
from iclprobe.tasks.task import END_OF_SEQUENCE, Record, Template

WORDS = "review: a fine film dull sentiment: good bad ; x"
FOLDING = folding_tokenizer(WORDS)
SHOWN = (Record({"text": "a fine film"}, 0), Record({"text": "a dull film"}, 1))
ASKED = (Record({"text": "a film"}, 0),)


def template(separator: str, *, given: bool = False, query: str = "review: {text} sentiment:") -> Template:
    return Template("mine", query, ("good", "bad"), separator, separator_given=given)


@pytest.mark.parametrize("separator", ["\n\n", "\n", "\t", "\r\n", " \n ", "  ", " "])
def test_a_separator_of_which_nothing_is_left_is_refused(separator: str) -> None:
    with pytest.raises(UserError, match=r"of the template 'mine' vanishes in this tokenizer.*give another"):
        build_prompts(FOLDING, template(separator), SHOWN, ASKED, None)
    with pytest.raises(UserError, match="vanishes in this tokenizer"):
        shown_demonstrations(FOLDING, template(separator), SHOWN)


def test_one_that_the_user_gave_is_warned_about_and_noted() -> None:
    with pytest.warns(UserWarning, match=r"The separator '\\n\\n' vanishes in this tokenizer"):
        prompts = build_prompts(FOLDING, template("\n\n", given=True), SHOWN, ASKED, None)
    assert prompts.notes == (
        "the separator '\\n\\n' vanishes in this tokenizer: nothing stands between demonstrations",
    )
    assert all(each.separator_ids == () for each in prompts.shown)


def test_a_separator_that_the_user_names_is_known_to_be_theirs(tmp_path: Path) -> None:
    assert not load_task("pocket-tone").template.separator_given
    given = load_task("pocket-tone", separator="\n").template
    assert given.separator_given and given.separator == "\n"


@pytest.mark.parametrize("separator", [" ;", " ; ", "\n;\n", END_OF_SEQUENCE, ""])
@pytest.mark.filterwarnings("error")
def test_what_is_left_of_a_separator_is_enough(separator: str) -> None:
    prompts = build_prompts(FOLDING, template(separator), SHOWN, ASKED, None)
    assert prompts.notes == ()


@pytest.mark.parametrize(
    ("name", "separator", "gone"),
    [
        ("stories260k", "\n\n", False),
        ("stories260k", " ", False),
        ("babyllama-tok105", " ", False),
        ("babyllama-tok105", "\n\n", False),  # An unknown token stands there, which is told otherwise.
        ("gpt2-tokenizer", "\n\n", False),
        ("gpt2-tokenizer", "\t", False),
    ],
)
def test_tokenizers_that_keep_white_space_lose_no_separator(name: str, separator: str, gone: bool) -> None:
    tokenizer = shared_tokenizer(name)
    ids = separator_ids(tokenizer, separator, "good", encode(tokenizer, ["good"])[0])
    assert vanishes(tokenizer, separator, ids) is gone


def test_line_breaks_of_the_template_itself_are_noted_when_they_are_lost() -> None:
    broken = template(" ; ", query="review: {text}\nsentiment:")
    with pytest.warns(UserWarning, match="line breaks of the template 'mine' reach the model as spaces"):
        prompts = build_prompts(FOLDING, broken, SHOWN, ASKED, None)
    assert prompts.notes == ("the line breaks of the template reach the model as spaces",)
    with pytest.warns(UserWarning, match="reach the model as unknown tokens"):
        prompts = build_prompts(shared_tokenizer("babyllama-tok105"), broken, SHOWN, ASKED, None)
    assert prompts.notes == ("the line breaks of the template reach the model as unknown tokens",)


@pytest.mark.filterwarnings("error")
def test_line_breaks_that_are_tokens_are_not_noted() -> None:
    broken = template("\n", query="review: {text}\nsentiment:")
    for tokenizer in (word_tokenizer(WORDS + "\n"), shared_tokenizer("stories260k")):
        assert build_prompts(tokenizer, broken, SHOWN, ASKED, None).notes == ()


def test_an_unknown_separator_is_noted_too() -> None:
    tokenizer = shared_tokenizer("babyllama-tok105")
    with pytest.warns(UserWarning, match="unknown token"):
        prompts = build_prompts(tokenizer, template("\n"), SHOWN, ASKED, None)
    assert prompts.separator_unknown
    assert prompts.notes == ("the separator between demonstrations is an unknown token to this tokenizer",)
