"""After the engine TransformerLens was used a model is what it was, and nothing of it is left in the process."""

from __future__ import annotations

import copy
import gc
import logging
import subprocess
import sys
import threading
import warnings
from collections import Counter
from typing import Any

import pytest
import tiny_families
import torch
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture, stream
from iclprobe.hooks.engines.lens_bridge import bridge_around
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.tolerances import relative_deviation
from iclprobe.models.delta import Delta
from iclprobe.models.loading import load_model

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13]])
PROMPTS = [[5, 6, 7, 8], [9, 10]]
EVERYTHING = CapturePlan(
    sites=("attention_output", "head_output", "scores", "pattern", "residual", "mlp_output"), columns="all"
)


def _state(module: Any) -> dict[str, Any]:
    """Everything of a module that could have changed, to be compared."""
    return {
        "modules": [(name, id(part)) for name, part in module.named_modules()],
        "keys": list(module.state_dict()),
        "tensors": [
            (name, id(one), one.data_ptr(), one.requires_grad) for name, one in module.named_parameters()
        ],
        "buffers": [(name, id(one), one.data_ptr()) for name, one in module.named_buffers()],
        "hooks": [
            (len(part._forward_hooks), len(part._forward_pre_hooks), "forward" in vars(part), part.training)
            for part in module.modules()
        ],
        "config": copy.deepcopy(module.config.to_dict()),
        "attention": module.config._attn_implementation,
        "logits": module(TOKENS).logits.tolist(),
    }


def _process() -> dict[str, Any]:
    registered = {name: ALL_ATTENTION_FUNCTIONS[name] for name in ALL_ATTENTION_FUNCTIONS.valid_keys()}
    return {
        "registry": registered,
        "level": logging.getLogger("transformers").level,
        "warnings": list(warnings.filters),
        "threads": set(threading.enumerate()),
        "random": torch.get_rng_state().tolist(),
        "gradients": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gemma3_text", "gpt_oss"])
def test_the_model_and_the_process_are_what_they_were(name: str) -> None:
    module = tiny_families.fresh(name)
    with torch.no_grad():
        before = _state(module), _process()
        capture(module, PROMPTS, EVERYTHING, engine="transformer-lens")
        assert (_state(module), _process()) == before
        batches = stream(module, PROMPTS, EVERYTHING, batch_size=1, engine="transformer-lens")
        next(batches)
        batches.close()
        assert (_state(module), _process()) == before
        with pytest.raises(UserError):
            plan = CapturePlan(sites=("scores", "residual"), score_space="scaled")
            capture(module, PROMPTS, plan, engine="transformer-lens")
        assert (_state(module), _process()) == before


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", "gpt_oss"])
def test_the_bridge_holds_the_models_own_weights(name: str) -> None:
    module = tiny_families.fresh(name)
    own = {one.untyped_storage().data_ptr() for one in [*module.parameters(), *module.buffers()]}
    bridge = bridge_around(load_model(module))
    assert {one.untyped_storage().data_ptr() for one in bridge.parameters()} <= own


def test_splitting_fused_weights_is_the_only_thing_that_copies() -> None:
    module = tiny_families.fresh("bloom")
    own = {one.untyped_storage().data_ptr() for one in [*module.parameters(), *module.buffers()]}
    bridge = bridge_around(load_model(module))
    copied = {name for name, one in bridge.named_parameters() if one.untyped_storage().data_ptr() not in own}
    assert copied and all({"q", "k", "v"} & set(name.split(".")) for name in copied), copied


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
def test_what_is_swapped_into_the_model_is_what_runs(name: str) -> None:
    module = tiny_families.fresh(name)
    model = load_model(module)
    generator = torch.Generator().manual_seed(3)
    changed = {
        key: one.detach() + 0.1 * torch.randn(one.shape, generator=generator)
        for key, one in module.named_parameters()
    }
    plan = CapturePlan(columns="all")
    without = capture(model, PROMPTS, plan, engine="transformer-lens")
    with Delta(changed).applied(module):
        want = capture(model, PROMPTS, plan)
        got = capture(model, PROMPTS, plan, engine="transformer-lens")
    again = capture(model, PROMPTS, plan, engine="transformer-lens")
    for site in plan.sites:
        one, other = getattr(want, site), getattr(got, site)
        assert (
            relative_deviation(one, other) < 1e-5 and relative_deviation(getattr(without, site), other) > 1e-2
        )
        assert torch.equal(getattr(without, site), getattr(again, site))


@pytest.mark.slow
def test_two_hundred_captures_leave_no_module_and_no_tensor() -> None:
    config = tiny_families.FAMILIES["bloom"]()
    config.n_layer = 1
    model = load_model(AutoModelForCausalLM.from_config(config).eval())
    plan = CapturePlan(sites=("scores",))

    def run(times: int) -> None:
        for _ in range(times):
            capture(model, [[5, 6, 7]], plan, engine="transformer-lens")

    run(3)
    before = _objects()
    run(200)
    assert _objects() - before == Counter()


def _objects() -> Counter[str]:
    gc.collect()
    kinds = (torch.nn.Module, torch.Tensor, torch.utils.hooks.RemovableHandle)
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), kinds))


def test_importing_the_package_imports_no_engine_and_importing_one_changes_nothing_else() -> None:
    code = """
import logging, sys, warnings, iclprobe
assert not {"transformer_lens", "nnsight", "accelerate", "peft", "gguf"} & set(sys.modules)
import transformers
from iclprobe.hooks.engines.lens_bridge import _library
from iclprobe.hooks.engines.transformer_lens import TransformerLensEngine
TransformerLensEngine()
assert not {"transformer_lens", "nnsight"} & set(sys.modules)
log = logging.getLogger("transformers")
before = log.level, list(warnings.filters)
_library()
assert "transformer_lens" in sys.modules
assert (log.level, list(warnings.filters)) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
