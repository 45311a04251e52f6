"""One comparison on real pretrained models against a plain transformers loop: whole prompts, one at a time, eager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import eager_oracle
import pytest
import torch
from shared_material import real_model, shared
from torch import Tensor

import iclprobe
from iclprobe.tasks.task import END_OF_SEQUENCE, Task

pytestmark = [pytest.mark.real, pytest.mark.slow]

EXACT = 1e-5
"""Relative to the largest entry of a row."""
SHOTS, QUERIES = 3, 2


class Loop(NamedTuple):
    """What a plain loop over the queries finds in one setting."""

    outputs: Tensor
    """[N, L, d]."""
    rows: list[Tensor]
    """N times [L, H, Q], over the query's tokens."""
    label_logprobs: Tensor
    """[N, C], mean over a label's tokens."""


def loop(model: Any, prefix: Sequence[int], queries: Sequence[Any], options: Sequence[Sequence[Any]]) -> Loop:
    """Run every whole prompt by itself, and every label behind it by itself."""
    outputs, rows, logprobs = [], [], []
    for query, labels in zip(queries, options, strict=True):
        prompt = [*prefix, *query]
        outputs.append(torch.stack([out[-1] for out in eager_oracle.attention_outputs(model, prompt)]))
        inputs = eager_oracle.softmax_inputs(model, prompt)
        rows.append(torch.stack([given.scores[:, -1, len(prefix) :] for given in inputs]))
        logprobs.append([label_logprob(model, prompt, label) for label in labels])
    return Loop(torch.stack(outputs), rows, torch.tensor(logprobs))


def label_logprob(model: Any, prompt: Sequence[int], label: Sequence[int]) -> float:
    given = eager_oracle.logits(model, [*prompt, *label])[len(prompt) - 1 : -1].log_softmax(-1)
    return float(torch.stack([given[step, token] for step, token in enumerate(label)]).mean())


def sgd(model: Any, sequences: Sequence[Sequence[int]], rate: float) -> None:
    """One pass over W_K and W_V of every layer, one demonstration a step, mean loss over all tokens."""
    trained = [p for name, p in model.named_parameters() if "k_proj" in name or "v_proj" in name]
    for ids in sequences:
        tokens = torch.tensor([list(ids)])
        loss = torch.nn.functional.cross_entropy(model(tokens).logits[0, :-1], tokens[0, 1:])
        gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= rate * gradient


def furthest(got: Tensor, want: Tensor) -> float:
    """The largest difference, relative to the largest entry of its row."""
    return float(((got - want).abs() / want.abs().amax(-1, keepdim=True)).max())


def sst2(template: str) -> Task:
    return iclprobe.load_task("sst2", data=str(shared("data/sst2")), template=template)


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_a_comparison_is_what_a_plain_loop_finds(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, task, rate = real_model(name), sst2("shen"), 1e-3
    iclprobe.compare(
        model=str(folder),
        task=task,
        shots=SHOTS,
        limit=QUERIES,
        dtype="float32",
        device="cpu",
        learning_rate=rate,
        save_captures=True,
        keep_rows=0,
        keep_maps=0,
        out=tmp_path / "run",
        page=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    words = [" Negative", " Positive"]
    shown = iclprobe.draw_demonstrations(task, SHOTS, 0)
    texts = [f"Review: {record.fields['text']}\nSentiment:{words[record.label]}" for record in shown]
    queries = [f"Review: {task.validation[i].fields['text']}\nSentiment:" for i in asked(tmp_path / "run")]
    begin = [tokenizer.bos_token_id] if name.startswith("gemma") else []
    prefix = [*begin, *(token for text in texts for token in encode(text + "\n\n"))]
    query_ids = [encode(text) for text in queries]
    options = [[encode(word) for word in words]] * len(queries)
    assert task.template.separator != END_OF_SEQUENCE

    want = {"zsl": loop(model, begin, query_ids, options), "icl": loop(model, prefix, query_ids, options)}
    sgd(model, [[*begin, *encode(text)] for text in texts], rate)
    want["ft"] = loop(model, begin, query_ids, options)
    for setting, found in want.items():
        hold(iclprobe.Capture.load(tmp_path / "run" / "captures" / f"{setting}.safetensors"), found)


def asked(run: Path) -> list[int]:
    import pandas

    return pandas.read_csv(run / "queries.csv")["query_index"].tolist()


def hold(capture: iclprobe.Capture, want: Loop) -> None:
    """Hold a capture against the loop."""
    assert capture.attention_output is not None and capture.scores is not None
    assert capture.label_logprobs is not None and capture.prediction is not None
    assert furthest(capture.attention_output, want.outputs) <= EXACT
    for index, rows in enumerate(want.rows):
        assert capture.columns[index].sum() == rows.shape[-1]
        assert furthest(capture.scores[index, ..., : rows.shape[-1]], rows) <= EXACT
    assert furthest(capture.label_logprobs, want.label_logprobs) <= EXACT
    assert capture.prediction.tolist() == want.label_logprobs.argmax(-1).tolist()


def test_a_comparison_in_a_chat_is_what_a_plain_loop_finds(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, task, rate = real_model("smollm2-135m-instruct"), sst2("shen"), 1e-3
    iclprobe.compare(
        model=str(folder),
        task=task,
        shots=2,
        limit=2,
        dtype="float32",
        device="cpu",
        learning_rate=rate,
        chat_template="user_turn",
        save_captures=True,
        keep_rows=0,
        keep_maps=0,
        out=tmp_path / "run",
        page=False,
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()

    def asked_in_a_turn(text: str) -> list[int]:
        turn = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        return tokenizer(rendered, add_special_tokens=False)["input_ids"]

    def question(record: Any) -> str:
        return f"Review: {record.fields['text']}\nSentiment:"

    words = ["Negative", "Positive"]
    answers = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    shown = iclprobe.draw_demonstrations(task, 2, 0)
    demonstrations = "".join(f"{question(record)} {words[record.label]}\n\n" for record in shown)
    queries = [question(task.validation[index]) for index in asked(tmp_path / "run")]
    captured = {
        setting: iclprobe.Capture.load(tmp_path / "run" / "captures" / f"{setting}.safetensors")
        for setting in ("zsl", "icl", "ft")
    }
    lengths = captured["zsl"].columns.sum(1).tolist()

    def hold_setting(setting: str, front: str) -> None:
        prompts = [asked_in_a_turn(front + query) for query in queries]
        prefixes = {tuple(ids[:-length]) for ids, length in zip(prompts, lengths, strict=True)}
        assert len(prefixes) == 1
        tails = [ids[-length:] for ids, length in zip(prompts, lengths, strict=True)]
        hold(captured[setting], loop(model, prefixes.pop(), tails, [answers] * len(queries)))

    hold_setting("zsl", "")
    hold_setting("icl", demonstrations)
    sgd(model, [asked_in_a_turn(question(record)) + answers[record.label] for record in shown], rate)
    hold_setting("ft", "")
