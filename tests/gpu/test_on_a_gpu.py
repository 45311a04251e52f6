"""What only a GPU can show. No test here has run unless its output says so: without one they are all skipped.

`ICLPROBE_GPU=cpu make test-gpu` runs on the CPU what can run there, to see that the tests themselves are sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.patch import patch
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.tap import tap
from iclprobe.models.live_module import running_eagerly
from iclprobe.models.loading import load_model

ASKED = os.environ.get("ICLPROBE_GPU", "cuda")
HERE = ASKED == "cpu" or torch.cuda.is_available()
pytestmark = pytest.mark.skipif(not HERE, reason="needs a GPU: torch sees none here")
needs_cuda = pytest.mark.skipif(ASKED == "cpu", reason="only a GPU can show it")

EVERYTHING = CapturePlan(sites=SITES, positions="all")
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


@pytest.fixture
def device() -> torch.device:
    """Where the tests run."""
    return torch.device(ASKED)


def llama(device: torch.device, dtype: torch.dtype = torch.bfloat16, **options: Any) -> Any:
    """A Llama of 4 layers with grouped queries, drawn at random."""
    sizes: Any = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 512}
    heads: Any = {"num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512}
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes, **heads, **options)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.1)
    return model.to(device, dtype)


def ids_on(device: torch.device, batch: int = 4, tokens: int = 96) -> Tensor:
    """Token ids without padding, so that every kernel can take the causal mask for granted."""
    drawn = torch.randint(1, 512, (batch, tokens), generator=torch.Generator().manual_seed(0))
    return drawn.to(device)


@contextmanager
def sync_debug_mode(hook: Any, mode: str) -> Iterator[None]:
    """From where a hook is called on, whatever makes the host wait for the GPU is forbidden, or allowed again."""
    handle = hook(lambda *_: torch.cuda.set_sync_debug_mode(mode))
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
        handle.remove()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_tap_changes_no_bit_under_any_kernel(kernel: str, device: torch.device) -> None:
    if device.type == "cpu" and kernel == "memory_efficient":
        pytest.skip("CPUs have no such kernel")
    model, ids = llama(device), ids_on(device)
    with torch.no_grad(), sdpa_kernel(KERNELS[kernel]):
        plain = model(ids).logits
        with tap(model, EVERYTHING):
            tapped = model(ids).logits
    assert torch.equal(plain, tapped)


def test_a_tap_changes_no_bit_under_flex_attention(device: torch.device) -> None:
    """Of the kernel as it is written: while a tap is open nothing runs compiled, this kernel neither."""
    model, ids = llama(device, attn_implementation="flex_attention"), ids_on(device, tokens=128)
    with torch.no_grad():
        with running_eagerly():
            plain = model(ids).logits
        with tap(model, CapturePlan(sites=("attention_output", "residual"), positions="all")):
            tapped = model(ids).logits
        assert torch.equal(plain, tapped)
        with pytest.raises(UserError, match="BlockMask"), tap(model, CapturePlan(sites=("scores",))):
            model(ids)


def test_rows_in_half_precision_are_those_of_eager_attention(device: torch.device) -> None:
    ids = ids_on(device).tolist()
    sites: Any = ("attention_output", "scores", "pattern")
    # Of the first layer, which has the same input in both.
    plan = CapturePlan(sites=sites, positions="all", layers=(0,))
    sdpa, eager = (capture(llama(device, attn_implementation=name), ids, plan) for name in ("sdpa", "eager"))
    for site in sites:
        rows, expected = (getattr(found, site).double().flatten(0, -2) for found in (sdpa, eager))
        assert torch.nn.functional.cosine_similarity(rows, expected, dim=-1).min() >= 0.999, site


@needs_cuda
def test_nothing_waits_for_the_gpu_inside_the_layer_loop(device: torch.device) -> None:
    model, ids = llama(device), ids_on(device)
    # Around the tap's own hooks on the first layer and the last.
    begin = sync_debug_mode(model.model.layers[0].register_forward_pre_hook, "error")
    end = sync_debug_mode(model.model.layers[-1].register_forward_hook, "default")
    with torch.no_grad(), begin, tap(model, EVERYTHING) as recorder, end:
        model(ids)
    assert recorder.recordings[0]["residual"].device.type == "cpu"


@needs_cuda
def test_a_last_row_takes_little_memory_beside_the_forward(device: torch.device) -> None:
    model, ids = llama(device), ids_on(device, batch=16, tokens=384)

    def peak(plan: CapturePlan | None) -> int:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        with torch.no_grad():
            if plan is None:
                model(ids)
            else:
                with tap(model, plan):
                    model(ids)
        return torch.cuda.max_memory_allocated(device)

    peak(None)  # what libraries take once
    last = CapturePlan(sites=("attention_output", "scores"), positions="last_prompt_token")
    assert peak(last) <= 1.1 * peak(None)


def test_rows_come_from_several_devices(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="device_map needs accelerate")
    llama(torch.device("cpu"), torch.float32).save_pretrained(tmp_path)
    place: Any = 0 if device.type == "cuda" else "cpu"
    spread: dict[str, Any] = {"model.embed_tokens": place, "model.norm": "cpu", "lm_head": "cpu"}
    spread |= {"model.rotary_emb": place}
    spread |= {f"model.layers.{layer}": place if layer < 2 else "cpu" for layer in range(4)}
    ids = ids_on(torch.device("cpu")).tolist()
    plan = CapturePlan(sites=("attention_output", "scores", "residual"), positions="all")
    found = capture(load_model(tmp_path, device_map=spread, dtype="float32"), ids, plan)
    plain = capture(load_model(tmp_path, device="cpu"), ids, plan)
    for site in ("attention_output", "scores", "residual"):
        rows, expected = getattr(found, site), getattr(plain, site)
        assert (rows - expected).abs().max() <= 1e-3 * expected.abs().max(), site


def test_a_comparison_is_that_of_the_cpu(device: torch.device) -> None:
    options: Any = {"shots": 2, "limit": 16, "learning_rate": 0.001, "resamples": 50, "dtype": "float32"}
    there, here = (
        iclprobe.compare(model="pocket", device=str(place), **options)
        for place in (device, torch.device("cpu"))
    )
    for name, table in here.tables.items():
        numbers = table.select_dtypes("number")
        other = there.tables[name][numbers.columns]
        assert torch.allclose(
            torch.tensor(numbers.to_numpy(dtype=float)),
            torch.tensor(other.to_numpy(dtype=float)),
            rtol=1e-2,
            atol=1e-2,
            equal_nan=True,
        ), name


@needs_cuda
def test_a_patch_makes_nothing_wait_inside_the_layer_loop(device: torch.device) -> None:
    model, ids = llama(device), ids_on(device)
    plan = CapturePlan(sites=("attention_output", "residual", "queries", "keys", "values"), positions="all")
    with torch.no_grad():
        with tap(model, plan) as recorder:
            untouched = model(ids).logits
        begin = sync_debug_mode(model.model.layers[0].register_forward_pre_hook, "error")
        end = sync_debug_mode(model.model.layers[-1].register_forward_hook, "default")
        with begin, patch(model, plan, lambda site, layer, computed: computed * 1.5), end:
            changed = model(ids).logits
        with patch(model, plan, recorder.capture()):
            assert torch.equal(model(ids).logits, untouched)
    assert not torch.equal(changed, untouched)


@needs_cuda
def test_a_batch_is_measured_and_fits(device: torch.device) -> None:
    model = load_model(llama(device))
    prompts = [list(range(1, 3 + number % 400)) for number in range(300)]
    free = torch.cuda.mem_get_info(device)[0]
    torch.cuda.reset_peak_memory_stats(device)
    found: Any = capture(model, prompts)
    assert torch.cuda.max_memory_allocated(device) < free
    few: Any = capture(model, prompts[:8], batch_size=1)
    close = torch.nn.functional.cosine_similarity(
        found.attention_output[:8].double(), few.attention_output.double(), dim=-1
    )
    assert close.min() > 0.999
