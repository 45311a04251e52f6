"""Quantised models are captured as they run; what reads or changes their weights is refused in a sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_tokenizers import word_tokenizer
from model_snapshot import sequences
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.self_check import self_check
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import preset
from iclprobe.models.untrained import untrained_copy
from iclprobe.models.weights import open_projections

PROMPTS = [[1, 5, 9, 12, 33], [1, 44, 2, 7, 8, 9]]


def llama() -> LlamaForCausalLM:
    sizes: Any = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 97}
    heads: Any = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2, generator=draw)
    return model


def bitsandbytes(bits: int, folder: Path) -> Any:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which runs on CPUs from 0.45 on")
    from transformers import BitsAndBytesConfig

    llama().save_pretrained(folder)
    config = BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu")


def torchao(folder: Path) -> Any:
    quantization: Any = pytest.importorskip("torchao.quantization", reason="needs torchao")
    model = llama()
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    return model


KINDS: dict[str, Callable[[Path], Any]] = {
    "bitsandbytes_8bit": functools.partial(bitsandbytes, 8),
    "bitsandbytes_4bit": functools.partial(bitsandbytes, 4),
    "torchao_int8": torchao,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def quantised(kind: str, folder: Path) -> LanguageModel:
    return load_model(KINDS[kind](folder), tokenizer=word_tokenizer("a b c"))


@every_kind
def test_it_is_captured_as_it_runs(kind: str, tmp_path: Path) -> None:
    model = quantised(kind, tmp_path)
    result = self_check(model)
    assert result.held, result.lines()
    found = capture(
        model, PROMPTS, CapturePlan(sites=("attention_output", "residual", "keys"), positions="all")
    )
    plain = capture(
        load_model(llama(), tokenizer=model.tokenizer),
        PROMPTS,
        CapturePlan(sites=("attention_output", "residual", "keys"), positions="all"),
    )
    for site in ("attention_output", "residual", "keys"):
        rows, exact = getattr(found, site), getattr(plain, site)
        # Other numbers than the unquantised model's, and not far from them.
        assert 0 < (rows - exact).norm() < 0.5 * exact.norm(), site


@every_kind
def test_what_reads_or_changes_weights_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    model = quantised(kind, tmp_path)
    for refused in (
        lambda: capture(model, PROMPTS, CapturePlan(sites=("head_output",))),
        lambda: list(open_projections(model)),
        lambda: iclprobe.sparsity(model),
        lambda: finetune(model, sequences(), preset("dai"), learning_rate=0.1, seed=0),
        lambda: untrained_copy(model, 0),
    ):
        with pytest.raises(UserError, match="quantised") as raised:
            refused()
        assert "\n" not in str(raised.value)
