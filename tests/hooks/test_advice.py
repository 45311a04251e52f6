"""What a refusal advises is something else than what the model has."""

from __future__ import annotations

import pytest
import tiny_families
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import iclprobe
from iclprobe import CapturePlan, UserError
from iclprobe.hooks.attention_sites import refuse_unread_options
from iclprobe.hooks.registry import other_attention
from iclprobe.models.layer_parts import LayerParts


def upcasting(attention: str) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=97,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
        reorder_and_upcast_attn=True,
    )
    config._attn_implementation = attention
    return GPT2LMHeadModel(config).eval()


def test_a_model_whose_eager_attention_is_its_own_is_sent_to_sdpa_where_it_is_read() -> None:
    with pytest.raises(
        UserError, match=r"recorded no scores .*'eager'\): load the model with attention='sdpa', or"
    ):
        iclprobe.capture(upcasting("eager"), [[3, 4, 5]])
    assert iclprobe.capture(upcasting("sdpa"), [[3, 4, 5]]).scores is not None


def test_attention_is_no_advice_for_what_it_does_not_touch() -> None:
    layers = ("transformer.h",)
    never_run = iclprobe.Family("gpt2", layers, "attn", "attn_dropout", "mlp.c_proj", ("c_attn",), "thirds")
    model = iclprobe.LanguageModel(upcasting("sdpa"), never_run, None, "it")
    message = r"recorded no attention_output .*'sdpa'\): correct its row in the family table"
    with pytest.raises(UserError, match=message):
        iclprobe.capture(model, [[3, 4, 5]], CapturePlan(sites=("attention_output",)))


@pytest.mark.parametrize(
    ("used", "advised"), [("eager", "'sdpa'"), ("sdpa", "'eager'"), ("flex_attention", "'sdpa' or 'eager'")]
)
def test_the_attention_in_use_is_never_advised(used: str, advised: str) -> None:
    assert other_attention(used) == f"load the model with attention={advised}"
    module = torch.nn.Identity()
    part = LayerParts(0, module, module, module, module, {})
    with pytest.raises(UserError, match=rf"got a object as attention mask.* attention={advised}$"):
        refuse_unread_options(part, object(), {}, used)


def test_a_falcon_that_hides_nothing_is_refused_and_sent_to_eager() -> None:
    model = tiny_families.fresh("falcon")
    model.set_attn_implementation("sdpa")
    tokens = torch.tensor([[3, 4, 5, 6], [3, 4, 5, 0]])
    mask = (tokens > 0).long()
    with (
        iclprobe.tap(model, CapturePlan(sites=("pattern",))),
        pytest.raises(
            UserError, match=r"hides nothing: leave it out, or load the model with attention='eager'"
        ),
    ):
        model(input_ids=tokens, attention_mask=mask, output_attentions=True)
    with iclprobe.tap(model, CapturePlan(sites=("pattern",))) as recorder:
        model(input_ids=tokens, attention_mask=mask)
    pattern = recorder.capture().pattern
    assert pattern is not None
    torch.testing.assert_close(pattern.sum(dim=-1), torch.ones(pattern.shape[:-1]))
