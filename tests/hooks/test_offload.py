"""Models whose weights are elsewhere until a module runs: accelerate's offload to main memory and to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from made_tokenizers import word_tokenizer
from model_snapshot import sequences
from recorded_sites import refused

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.self_check import self_check
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import preset
from iclprobe.tasks.prompts import PromptSet

accelerate: Any = pytest.importorskip("accelerate", reason="offloading needs accelerate")

PROMPTS = [[1, 5, 9, 12, 33], [1, 44, 2, 7, 8, 9]]
FAMILIES = ("llama", "gemma3_text", "gpt2", "gpt_neox", "bloom", "falcon", "gptj")
OFFLOADS = ("device_map_disk", "device_map_auto", "cpu_offload", "disk_offload")


def offloaded(name: str, how: str, folder: Path) -> LanguageModel:
    tokenizer = word_tokenizer("a b c")
    if how.startswith("device_map"):
        tiny_families.build(name).save_pretrained(folder / "model")
        place = {"": "disk"} if how.endswith("disk") else "auto"
        return load_model(folder / "model", tokenizer=tokenizer, device_map=place)
    module = tiny_families.fresh(name)
    if how == "cpu_offload":
        accelerate.cpu_offload(module, execution_device="cpu")
    else:
        accelerate.disk_offload(module, str(folder / "offload"), execution_device="cpu")
    return load_model(module, tokenizer=tokenizer)


@pytest.mark.parametrize("how", OFFLOADS)
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_those_of_the_plain_model(name: str, how: str, tmp_path: Path) -> None:
    sites: Any = tuple(site for site in SITES if site not in refused(name) and site != "head_output")
    plan = CapturePlan(sites=sites, positions="all")
    plain = capture(load_model(tiny_families.build(name), tokenizer=word_tokenizer("a b c")), PROMPTS, plan)
    model = offloaded(name, how, tmp_path)
    assert model.device == torch.device("cpu")
    assert any(parameter.is_meta for parameter in model.module.parameters()) == (how != "device_map_auto")
    found = capture(model, PROMPTS, plan)
    for site in (*sites, "visible", "top_ids", "top_logprobs"):
        rows, expected = getattr(found, site), getattr(plain, site)
        assert torch.equal(rows, expected) or torch.allclose(rows, expected, rtol=0, atol=1e-6), site


def test_the_self_check_holds(tmp_path: Path) -> None:
    assert self_check(offloaded("llama", "disk_offload", tmp_path)).held


def test_behind_a_prefix_and_with_labels(tmp_path: Path) -> None:
    prompts = PromptSet((1, 5, 9, 12), ((7, 8), (33, 44, 2)), (((3, 4), (6,)), ((3, 4), (6,))), (0, 1))
    found, plain = (
        capture(model, prompts) for model in (offloaded("llama", "cpu_offload", tmp_path), built())
    )
    assert found.label_logprobs is not None and plain.label_logprobs is not None
    assert torch.allclose(found.label_logprobs, plain.label_logprobs, atol=1e-6)


def built() -> LanguageModel:
    return load_model(tiny_families.build("llama"))


def test_what_reads_or_changes_weights_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = offloaded("llama", "disk_offload", tmp_path)
    for refused_here in (
        lambda: capture(model, PROMPTS, CapturePlan(sites=("head_output",))),
        lambda: iclprobe.sparsity(model),
        lambda: finetune(model, sequences(), preset("dai"), learning_rate=0.1, seed=0),
    ):
        with pytest.raises(UserError, match="offloaded"):
            refused_here()


def test_a_bias_that_attention_holds_itself_is_refused(tmp_path: Path) -> None:
    module: Any = tiny_decoders.fresh("gpt_neox_japanese")
    accelerate.disk_offload(module, str(tmp_path), execution_device="cpu")
    with pytest.raises(UserError, match=r"the bias of attention's output in layer \d is offloaded"):
        capture(load_model(module), PROMPTS, CapturePlan(sites=("attention_output",)))
