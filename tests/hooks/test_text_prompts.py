"""The begin-of-sequence token of texts and of token ids is the tokenizer's own, in `capture` as in `tap`."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from made_tokenizers import word_tokenizer
from shared_material import TOKENIZERS, shared_tokenizer

from iclprobe import CapturePlan, PromptSet, build_prompts, capture, load_model, tap
from iclprobe.errors import UserError
from iclprobe.hooks.text_prompts import as_prompt_set, begin_token
from iclprobe.tasks.task import Record, Template

WORDS = '"the cake is good bad\n:'
ALL = CapturePlan(columns="all")


def model_with(tokenizer: Any, **config: Any) -> Any:
    """A tiny Llama whose configuration names token 1 as its begin-of-sequence, whatever the tokenizer does."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    module = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **(settings | config))).eval()
    return load_model(module, tokenizer=tokenizer)


def columns_of_tap(model: Any, ids: list[list[int]]) -> list[list[int]]:
    """Which places of each prompt are columns, as the tap of a padded batch sees it."""
    width = max(map(len, ids))
    batch = torch.tensor([own + [0] * (width - len(own)) for own in ids])
    mask = torch.tensor([[1] * len(own) + [0] * (width - len(own)) for own in ids])
    with tap(model) as recorder, torch.no_grad():
        model.module(batch, attention_mask=mask)
    return [row.nonzero().flatten().tolist() for row in recorder.capture().columns]


def columns_of_capture(model: Any, prompts: Any) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in capture(model, prompts, ALL).columns]


def test_no_token_is_left_out_where_the_tokenizer_puts_none_in_front() -> None:
    # As in CodeGen: the configuration's begin-of-sequence token 1 is an ordinary piece, the quotation mark.
    model = model_with(word_tokenizer(WORDS), bos_token_id=1)
    assert model.require_tokenizer().convert_ids_to_tokens([1]) == ['"']
    assert begin_token(model) is None
    assert as_prompt_set(model, '"the cake"').bos_length == 0
    assert capture(model, '"the cake"').columns.tolist() == [[True] * 5]
    assert columns_of_tap(model, [[1, 2, 3, 4, 1]]) == [[0, 1, 2, 3, 4]]


def test_the_token_in_front_need_not_be_the_one_that_the_configuration_names() -> None:
    # As in XGLM: the tokenizer puts </s> in front, the configuration names <s>.
    tokenizer = word_tokenizer(WORDS, front=("</s>",), bos_token="<s>", eos_token="</s>")
    model = model_with(tokenizer, bos_token_id=2, eos_token_id=1)
    assert tokenizer.convert_ids_to_tokens([1, 2]) == ["</s>", "<s>"]
    assert as_prompt_set(model, "the cake").prefix_ids == (1,)
    assert capture(model, "the cake").columns.tolist() == [[True] * 3]
    ids = [tokenizer("the cake")["input_ids"]]
    assert columns_of_tap(model, ids) == columns_of_capture(model, ids) == [[1, 2, 3]]


def test_what_a_tokenizer_puts_at_the_end_is_not_run() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",), back=("</s>",), bos_token="<s>", eos_token="</s>")
    model = model_with(tokenizer)
    got = as_prompt_set(model, ["the cake is", "the cake"])
    template = Template("t", "{text}", ("good", "bad"), "\n", label_prefix=" ")
    queries = [Record({"text": "the cake is"}, 0), Record({"text": "the cake"}, 0)]
    built = build_prompts(tokenizer, template, (), queries, None).zero_shot
    assert (got.prefix_ids, got.query_ids, got.bos_length) == (built.prefix_ids, built.query_ids, 1)
    assert tokenizer.eos_token_id not in got.full_ids(0)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", ["Once upon a time", "Review: fine\n", " leading space"])
def test_texts_are_run_as_built_prompts_are(name: str, text: str) -> None:
    tokenizer = shared_tokenizer(name)
    template = Template("t", "{text}", (" a", " b"), " ", label_prefix="")
    built = build_prompts(tokenizer, template, (), [Record({"text": text}, 0)], None).zero_shot
    got = as_prompt_set(model_with(tokenizer), text)
    assert (got.prefix_ids, got.query_ids, got.bos_length) == (
        built.prefix_ids,
        built.query_ids,
        built.bos_length,
    )


def test_a_begin_of_sequence_token_that_is_written_out_is_not_doubled() -> None:
    tokenizer = shared_tokenizer("stories260k")
    model = model_with(tokenizer)
    written, plain = as_prompt_set(model, "<s>Once upon"), as_prompt_set(model, "Once upon")
    assert written.full_ids(0) == tuple(tokenizer("<s>Once upon", add_special_tokens=False)["input_ids"])
    assert written.full_ids(0)[0] == 1 and 1 not in written.full_ids(0)[1:]
    assert (written.prefix_ids, written.bos_length) == (plain.prefix_ids, plain.bos_length) == ((1,), 1)
    together = as_prompt_set(model, ["<s>Once upon", "Once upon"])
    assert (together.prefix_ids, together.query_ids[1]) == ((1,), plain.query_ids[0])
    # Where the tokenizer adds none, a written one is text like any other.
    gpt2 = model_with(shared_tokenizer("gpt2-tokenizer"))
    assert as_prompt_set(gpt2, "<|endoftext|>a").full_ids(0) == (50256, 64)
    assert columns_of_tap(gpt2, [[50256, 64]]) == columns_of_capture(gpt2, "<|endoftext|>a") == [[0, 1]]


def test_capture_and_tap_leave_out_the_same_columns_of_prompts_of_which_some_begin_with_it() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",), bos_token="<s>")
    model = model_with(tokenizer, bos_token_id=None)
    ids = [[1, 3, 4, 5], [3, 4, 5], [1], [4, 1]]
    assert columns_of_tap(model, ids) == columns_of_capture(model, ids) == [[1, 2, 3], [0, 1, 2], [], [0, 1]]


def test_without_a_tokenizer_the_configuration_says_it() -> None:
    model = load_model(tiny_families.build("llama"))
    assert begin_token(model) == 1
    ids = [[1, 30, 31, 32], [1, 40, 41]]
    assert as_prompt_set(model, ids) == PromptSet((1,), ((30, 31, 32), (40, 41)), (), (), 1)
    assert columns_of_tap(model, ids) == columns_of_capture(model, ids) == [[1, 2, 3], [1, 2]]


def test_a_vocabulary_without_an_unknown_token_is_asked_for_a_piece_of_its_own() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<s>": 0, "7": 1, "8": 2}))  # pyright: ignore[reportCallIssue]
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    made.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    model = model_with(PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>"), bos_token_id=1)
    assert begin_token(model) == 0
    assert columns_of_tap(model, [[0, 1, 2]]) == columns_of_capture(model, "7 8") == [[1, 2]]


def test_several_tokens_in_front_are_refused() -> None:
    model = model_with(word_tokenizer(WORDS, front=("<m>", "<s>")))
    with pytest.raises(UserError, match="2 tokens in front of every text"):
        capture(model, "the cake")
