"""The last token of a prompt as rows of one batch: as in whole prompts, and bit for bit where nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from torch import Tensor

from iclprobe import CapturePlan, UserError, patch
from iclprobe.hooks.last_token import RowWrite, last_token
from iclprobe.hooks.plan import Site
from iclprobe.models.loading import load_model

FAMILIES = [
    "llama",
    "gpt2",
    "opt",
    "bloom",
    "mpt",
    "gptj",
    "falcon_alibi",
    "mistral",
    "gemma3_text",
    "gpt_oss",
]
HYBRIDS = ["qwen3_next", "bamba"]
EXPERTS = ["gpt_oss", "qwen3_next"]
OPTIONS = ((5,), (9, 6, 7), (9, 6, 8))


def _ids(name: str) -> tuple[int, ...]:
    return tuple(tiny_families.prompts(name)[1])


def _step(width: int, rows: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def _literal(module: Any, site: Site, layer: int, step: Tensor, ids: tuple[int, ...], place: int) -> Tensor:
    """Log-probabilities behind every token of one whole text in which one token's activation has a step added."""
    plan = CapturePlan(sites=(site,), layers=(layer,), positions=(place,))
    with torch.no_grad(), patch(module, plan, lambda *given: given[2] + step):
        return module(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)


@pytest.mark.parametrize("name", FAMILIES + HYBRIDS)
@pytest.mark.parametrize("site", ["residual", "attention_output"])
def test_rows_are_whole_prompts_in_which_their_last_token_was_written(name: str, site: Site) -> None:
    module: Any = tiny_families.build(name) if name in FAMILIES else tiny_decoders.build(name)
    model, ids = load_model(module), _ids(name)
    layer = model.parts[0].index
    steps = _step(model.width, 2)
    with last_token(model, ids) as token:
        assert (token.cache is None) == (name in HYBRIDS)
        plain, recorded = token.record(4, CapturePlan(sites=(site,), layers=(layer,)))
        rows = torch.tensor([1, 3])
        written = token.run(4, [RowWrite(site, layer, rows, getattr(recorded, site)[rows, 0] + steps)])
    for row, step in ((1, steps[0]), (3, steps[1])):
        want = _literal(module, site, layer, step, ids, len(ids) - 1)[-1]
        torch.testing.assert_close(written.logprobs[row], want, rtol=0, atol=2e-5)
        assert (written.logprobs[row] - plain.logprobs[row]).abs().max() > 1e-3
    for row in (0, 2):
        # Experts are given the rows of the whole batch: others have a part in a row's roundings.
        allowed = 2e-6 if name in EXPERTS else 0.0
        torch.testing.assert_close(written.logprobs[row], plain.logprobs[row], rtol=0, atol=allowed)


@pytest.mark.parametrize("name", FAMILIES + HYBRIDS)
def test_what_stands_there_set_again_changes_no_bit(name: str) -> None:
    module: Any = tiny_families.build(name) if name in FAMILIES else tiny_decoders.build(name)
    model = load_model(module)
    sites: tuple[Site, ...] = ("residual", "attention_output")
    for rows in (2, 5, 33):
        with last_token(model, _ids(name)) as token:
            plain, recorded = token.record(rows, CapturePlan(sites=sites))
            assert torch.equal(token.run(rows).logprobs, plain.logprobs)
            for site in sites:
                every = getattr(recorded, site)
                some = torch.arange(1, rows)
                writes = [
                    RowWrite(site, layer, some, every[some, place])
                    for place, layer in enumerate(recorded.layers)
                ]
                # One row is another, so that something is written and the others are put back.
                other = RowWrite(site, recorded.layers[0], torch.arange(rows), every[:, 0].clone())
                other.values[0] += 1
                for given in (writes,) if name in EXPERTS else (writes, [other]):
                    assert torch.equal(token.run(rows, given).logprobs[1:], plain.logprobs[1:])


def test_rows_of_different_layers_are_written_in_their_own_alone() -> None:
    model: Any = load_model(tiny_families.build("llama"))
    values = 3 * _step(model.width, 3)
    with last_token(model, _ids("llama")) as token:
        writes = [
            RowWrite("residual", layer, torch.tensor([layer + 1]), values[layer][None]) for layer in range(3)
        ]
        together = token.run(4, writes)
        for layer in range(3):
            alone = token.run(4, [writes[layer]])
            assert torch.equal(together.logprobs[layer + 1], alone.logprobs[layer + 1])
            assert (alone.logprobs[layer + 1] - alone.logprobs[0]).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "bloom"])
@pytest.mark.parametrize("scoring", ["mean", "sum", "first"])
def test_label_words_of_several_tokens_see_what_was_written(name: str, scoring: Any) -> None:
    module: Any = tiny_families.build(name)
    model, ids = load_model(module), _ids(name)
    step = _step(model.width, 1)
    with last_token(model, ids, OPTIONS, scoring) as token:
        _, recorded = token.record(2, CapturePlan(sites=("residual",), layers=(0,)))
        assert recorded.residual is not None
        value = recorded.residual[1:, 0] + step
        said: Any = token.run(2, [RowWrite("residual", 0, torch.tensor([1]), value)])
    for place, option in enumerate(OPTIONS):
        counted = option[:1] if scoring == "first" else option
        behind = _literal(module, "residual", 0, step[0], ids + counted[:-1], len(ids) - 1)
        each = [float(behind[len(ids) - 1 + index, label]) for index, label in enumerate(counted)]
        want = sum(each) / (len(each) if scoring == "mean" else 1)
        assert float(said.label_logprobs[1, place]) == pytest.approx(want, abs=2e-5)


def test_what_cannot_be_run_is_refused() -> None:
    hybrid = load_model(tiny_decoders.build("bamba"))
    with pytest.raises(UserError, match="scoring=first"), last_token(hybrid, _ids("bamba"), OPTIONS):
        pass
    with last_token(hybrid, _ids("bamba"), OPTIONS, "first") as token:
        assert token.run(2).label_logprobs is not None
    model = load_model(tiny_families.build("llama"))
    infinite = torch.full((1, model.width), torch.inf)
    with last_token(model, _ids("llama")) as token, pytest.raises(UserError, match="smaller alphas"):
        token.run(2, [RowWrite("residual", 0, torch.tensor([1]), infinite)])


def test_a_prompt_of_one_token_runs_whole() -> None:
    model = load_model(tiny_families.build("llama"))
    with last_token(model, (7,)) as token:
        assert token.cache is None
        got = token.run(3).logprobs
    module: Any = model.module
    with torch.no_grad():
        want = module(torch.tensor([[7]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(got, want.expand(3, -1))
