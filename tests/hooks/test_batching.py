"""How many prompts run together: what one of them needs, counted by hand, and what is free."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_families
import torch

from iclprobe.hooks import batching
from iclprobe.hooks.batching import bytes_per_prompt, choose_batch_size
from iclprobe.models import free_memory as memory
from iclprobe.models.free_memory import free_memory
from iclprobe.models.inner_width import inner_width
from iclprobe.models.loading import LanguageModel, load_model


def test_a_prompt_needs_its_keys_and_values_activations_scores_and_logits() -> None:
    module = tiny_families.fresh("llama")
    model = load_model(module)
    geometry, vocabulary = model.geometry, module.config.vocab_size
    assert bytes_per_prompt(model, 0, 0) == 3 * 4 * vocabulary
    a_cached_token = model.n_layers * 2 * geometry.key_value_heads * geometry.head_width * 4
    assert bytes_per_prompt(model, 0, 5) == 5 * a_cached_token + 3 * 4 * vocabulary
    streams = 7 * 4 * (8 * model.width + 3 * inner_width(model))
    assert bytes_per_prompt(model, 7, 5) == 12 * a_cached_token + streams + 3 * 4 * vocabulary
    assert bytes_per_prompt(load_model(module.half()), 0, 5) == 5 * a_cached_token // 2 + 3 * 4 * vocabulary


def test_scores_are_counted_where_attention_forms_them() -> None:
    module = tiny_families.fresh("llama")
    without = bytes_per_prompt(load_model(module), 7, 5)
    module.set_attn_implementation("eager")
    model = load_model(module)
    within = 3 * model.geometry.heads * 7 * (5 + 7) * 4
    assert bytes_per_prompt(model, 7, 5) == without + within
    # Who calls the softmax itself forms them whatever implementation is named.
    module.set_attn_implementation("sdpa")
    itself = LanguageModel(module, replace(model.family, route="functional"), None, "it")
    assert bytes_per_prompt(itself, 7, 5) == without + within


def test_batches_take_a_quarter_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_families.build("llama"))
    one = bytes_per_prompt(model, 7, 5)
    for free, size in [(4 * 5 * one, 5), (4 * 5 * one - 4, 4), (one, 1), (0, 1)]:
        monkeypatch.setattr(batching, "free_memory", lambda device, free=free: free)
        assert choose_batch_size(model, 7, 5) == size


@pytest.mark.parametrize(("tokens", "size"), [(1, 256), (128, 32), (100_000, 16)])
def test_a_cpu_takes_as_many_prompts_as_keep_it_busy(
    tokens: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_families.build("llama"))
    assert model.width == 32
    monkeypatch.setattr(batching, "free_memory", lambda device: 1 << 60)
    assert choose_batch_size(model, tokens, 0) == size


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the system does not tell")
def test_free_memory_is_a_part_of_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory(torch.device("cpu"))
    assert 16 << 20 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "nothing")
    assert free_memory(torch.device("cpu")) == 4 << 30


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the system does not tell")
def test_memory_that_holds_cached_files_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a large file was written little is unused, and batches would shrink to one prompt."""
    said = tmp_path / "meminfo"
    said.write_text("MemTotal: 8000000 kB\nMemFree: 1000 kB\nMemAvailable: 6000000 kB\n")
    monkeypatch.setattr(memory, "_MEMORY", said)
    assert free_memory(torch.device("cpu")) == 6000000 * 1024
