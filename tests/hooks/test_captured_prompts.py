"""A capture knows its tokens, what they say and where each part stands; positions name these parts."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import eager_oracle
import pytest
import tiny_families
import torch
from expected_rows import EXACT, expected
from shared_material import real_model, shared, shared_tokenizer

import iclprobe
from iclprobe import Capture, CapturePlan, capture
from iclprobe.errors import UserError
from iclprobe.hooks.capture import stream
from iclprobe.tasks.prompt_set import PromptSet, TaskPrompts
from iclprobe.tasks.spans import Span

FAMILIES = ("llama", "gpt2", "qwen2", "gemma3_text", "gptj", "gpt_neox", "bloom", "mpt", "mistral")
SPANS = {
    "demonstration_inputs": [(1, 5, 0), (7, 10, 1)],
    "demonstration_labels": [(5, 6, 0), (10, 12, 1)],
    "separators": [(6, 7, 0), (12, 13, 1)],
}
NAMES = {
    "demonstration_inputs": "demonstration_input",
    "demonstration_labels": "demonstration_label",
    "separators": "separator",
}


@cache
def pocket() -> tuple[Any, TaskPrompts]:
    model = iclprobe.load_model("pocket", device="cpu")
    task = iclprobe.load_task("pocket-topic-code")
    shown = iclprobe.draw_demonstrations(task, 3, 0)
    prompts = iclprobe.build_prompts(
        model.require_tokenizer(), task.template, shown, task.validation[:6], model.context_length
    )
    return model, prompts


def spanned(name: str) -> PromptSet:
    """Queries of several lengths behind two made demonstrations."""
    spans = sorted(
        (
            Span(NAMES[kind], start, stop, number, number)
            for kind, runs in SPANS.items()
            for start, stop, number in runs
        ),
        key=lambda span: span.start,
    )
    return PromptSet(
        tuple(tiny_families.prefix(name, length=13)),
        tuple(tuple(ids) for ids in tiny_families.prompts(name, lengths=(4, 7, 5))),
        prefix_spans=(Span("context", 0, 1), *spans),
    )


def wanted_tokens(positions: str, prompts: PromptSet, index: int) -> list[int]:
    whole = len(prompts.full_ids(index))
    if positions == "prompt":
        return list(range(whole))
    if positions == "query":
        return list(range(len(prompts.prefix_ids), whole))
    kinds = list(SPANS) if positions == "demonstrations" else [positions]
    return sorted(token for kind in kinds for start, stop, _ in SPANS[kind] for token in range(start, stop))


@pytest.mark.parametrize("positions", ["prompt", "query", "demonstrations", *SPANS])
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_named_positions_equal_an_eager_forward(name: str, positions: Any) -> None:
    prompts = spanned(name)
    plan = CapturePlan(sites=("pattern", "scores", "attention_output"), positions=positions, columns="all")
    got = capture(tiny_families.build(name), prompts, plan, batch_size=2)
    assert got.pattern is not None and got.scores is not None and got.attention_output is not None
    assert got.visible is not None and got.rows is not None and got.row_tokens is not None
    for index in range(prompts.n):
        ids, rows = prompts.full_ids(index), wanted_tokens(positions, prompts, index)
        want = expected(name, tuple(ids))
        assert got.row_tokens[index][got.rows[index]].tolist() == rows
        assert (got.row_tokens[index][~got.rows[index]] == -1).all()
        here = slice(0, len(rows))
        pattern = got.pattern[index, :, here, :, : len(ids)]
        torch.testing.assert_close(pattern.transpose(1, 2), want.pattern[:, :, rows], atol=EXACT, rtol=0)
        seen = got.visible[index, :, here, 0, : len(ids)]
        assert torch.equal(seen, want.visible[:, rows])
        scores = got.scores[index, :, here, :, : len(ids)].transpose(1, 2)
        largest = want.scores[:, :, rows].abs().amax(-1, keepdim=True).clamp(min=1)
        assert ((scores - want.scores[:, :, rows]).abs() / largest).max() <= EXACT
        outputs = got.attention_output[index, :, here]
        largest = want.attention_output[:, rows].abs().amax(-1, keepdim=True)
        assert ((outputs - want.attention_output[:, rows]).abs() / largest).max() <= EXACT


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_the_pattern_of_a_whole_prompt_is_what_a_real_model_gives_out(name: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = real_model(name)
    model = iclprobe.load_model(str(folder), device="cpu", dtype="float32")
    task = iclprobe.load_task("sst2", data=str(shared("data/sst2")), template="shen")
    shown = iclprobe.draw_demonstrations(task, 2, 0)
    prompts = iclprobe.build_prompts(
        model.require_tokenizer(), task.template, shown, task.validation[:1], model.context_length
    )
    plan = CapturePlan(sites=("pattern", "scores"), positions="prompt", columns="all")
    got = capture(model, prompts.icl, plan)
    assert got.pattern is not None and got.scores is not None and got.visible is not None
    eager = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = prompts.icl.full_ids(0)
    with torch.no_grad():
        given = eager(torch.tensor([ids]), output_attentions=True).attentions
    want = torch.cat(given).transpose(1, 2)
    torch.testing.assert_close(got.pattern[0], want, atol=EXACT, rtol=0)
    for layer, said in enumerate(eager_oracle.softmax_inputs(eager, ids)):
        scores, seen = got.scores[0, layer].transpose(0, 1), got.visible[0, layer, :, 0]
        assert torch.equal(seen, said.visible[0])
        masked = said.scores.masked_fill(~seen, 0.0)
        assert ((scores - masked).abs() / masked.abs().amax(-1, keepdim=True).clamp(min=1)).max() <= EXACT


def test_a_capture_tells_the_tokens_and_parts_of_its_prompts() -> None:
    model, prompts = pocket()
    got = capture(model, prompts.icl, setting="icl")
    assert got.prompts is not None and got.row_tokens is not None
    assert got.prompts.setting == "icl" and "(icl)" in repr(got)
    tokenizer = model.require_tokenizer()
    for index, prompt in enumerate(got.prompts):
        assert prompt.ids == prompts.icl.full_ids(index) and prompt.spans == prompts.icl.spans(index)
        assert list(prompt.tokens) == [tokenizer.decode([token]) for token in prompt.ids]
        assert got.row_tokens[index] == len(prompt.ids) - 1
        words = [prompt.tokens[place] for place in prompt.tokens_of("demonstration_label")]
        assert words == [tokenizer.decode(list(each.label_ids)) for each in prompts.shown]
        width = int(got.columns[index].sum())
        assert prompt.ids[got.first_column :] == prompts.icl.query_ids[index] and width == len(
            prompt.ids[got.first_column :]
        )


def test_batches_and_selections_have_the_prompts_they_hold(tmp_path: Path) -> None:
    model, prompts = pocket()
    whole = capture(model, prompts.icl)
    assert whole.prompts is not None
    for indices, batch in stream(model, prompts.icl, batch_size=4):
        assert batch.prompts is not None
        assert [prompt.ids for prompt in batch.prompts] == [
            whole.prompts[int(index)].ids for index in indices
        ]
    some = whole.select(torch.tensor([4, 1]))
    assert some.prompts is not None and some.prompts[0] == whole.prompts[4] and len(some.prompts) == 2
    masked = whole.select(torch.tensor([False, True, False, False, False, False]))
    assert masked.prompts is not None and masked.prompts[0] == whole.prompts[1]


@pytest.mark.parametrize("streamed", [True, False])
def test_prompts_come_back_from_a_file(streamed: bool, tmp_path: Path) -> None:
    model, prompts = pocket()
    plan = CapturePlan(positions="demonstration_labels", columns="all")
    if streamed:
        got = capture(model, prompts.icl, plan, setting="icl", file=tmp_path / "icl.safetensors")
    else:
        got = capture(model, prompts.icl, plan, setting="icl")
        got.save(tmp_path / "icl.safetensors")
    again = Capture.load(tmp_path / "icl.safetensors")
    assert again.prompts == got.prompts and again.first_column == got.first_column == 0
    assert again.row_tokens is not None and got.row_tokens is not None
    assert torch.equal(again.row_tokens, got.row_tokens)
    assert pickle.loads(pickle.dumps(again.prompts)) == got.prompts


def test_a_label_token_behind_the_prompt_is_told_as_that() -> None:
    model, prompts = pocket()
    got = capture(model, prompts.icl, CapturePlan(positions="first_label_token"))
    assert got.row_tokens is not None
    assert got.row_tokens.tolist() == [len(prompts.icl.full_ids(index)) for index in range(prompts.icl.n)]


def test_pieces_of_texts_get_names() -> None:
    model, _ = pocket()
    texts, names = ["the cake was lovely", "my train is late"], [{"thing": "cake was"}, {"thing": "train"}]
    got = capture(model, texts, CapturePlan(positions="span:thing"), spans=names)
    assert got.prompts is not None and got.row_tokens is not None and got.rows is not None
    said = [[prompt.tokens[place] for place in prompt.tokens_of("thing")] for prompt in got.prompts]
    assert said == [["cake", "was"], ["train"]]
    assert got.row_tokens.tolist() == [[2, 3], [2, -1]] and got.rows.tolist() == [[True, True], [True, False]]
    by_tokens = capture(
        model,
        texts,
        CapturePlan(positions="span:thing"),
        spans=[[Span("thing", 2, 4)], [Span("thing", 2, 3)]],
    )
    assert by_tokens.prompts == got.prompts
    everything: Any = capture(model, texts, CapturePlan(positions="all"))
    assert got.attention_output is not None
    torch.testing.assert_close(
        got.attention_output[0], everything.attention_output[0, :, 1:3], rtol=0, atol=0
    )


def test_a_byte_level_piece_takes_the_space_in_front_with_its_token() -> None:
    module = tiny_families.build("gpt2")
    model = iclprobe.load_model(module, tokenizer=shared_tokenizer("gpt2-tokenizer"))
    from iclprobe.hooks.text_prompts import as_prompt_set

    made = as_prompt_set(model, ["a good film, a bad one"], [{"praise": "good film"}])
    assert made.spans(0)[-1] == Span("praise", 1, 3)


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([{"x": "cake"}], "2 prompts have spans for 1"),
        ([{"x": "pie"}, {}], "stands 0 times in prompt 0"),
        ([{"x": "a"}, {}], "stands 3 times in prompt 0"),
        ([{}, {"x": ""}], "stands 0 times in prompt 1"),
        ([{}, [Span("x", 0, 2)]], "begin-of-sequence"),
        ([{}, [Span("x", 1, 99)]], "ends at token 99 and prompt 1 has 5"),
    ],
)
def test_pieces_that_are_nowhere_are_refused(spans: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        capture(pocket()[0], ["the cake was lovely a", "my train is late"], spans=spans)


def test_positions_without_tokens_are_refused_with_the_spans_there_are() -> None:
    model, prompts = pocket()
    with pytest.raises(UserError, match=r"'demonstration_labels': its spans are 'begin, query'"):
        capture(model, prompts.zero_shot, CapturePlan(positions="demonstration_labels"))
    with pytest.raises(UserError, match="a PromptSet has spans of its own"):
        capture(model, prompts.icl, spans=[])
    with pytest.raises(UserError, match="as token ids"):
        capture(model, [[5, 6]], spans=[{"x": "cake"}])
    with (
        pytest.raises(UserError, match="does not say where 'prompt' stands"),
        iclprobe.tap(model, CapturePlan(positions="prompt")),
    ):
        model.module(torch.tensor([[1, 5]]))
