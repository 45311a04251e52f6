"""Models in memory are taken for what they are: compiled, wrapped, with adapters that stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from made_adapters import live, logits
from model_snapshot import assert_as_it_was, fresh, same_bits, sequences, snapshot
from weight_tables import averaged

import iclprobe
from iclprobe import CapturePlan, LanguageModel, UserError
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import load_recipe
from iclprobe.models.untrained import untrained_copy

peft: Any = pytest.importorskip("peft", reason="adapters need the peft extra")

IDS = [tiny_families.prompts("llama")[index] for index in (0, 1)]
EVERYTHING = CapturePlan(sites=("attention_output", "scores", "pattern", "mlp_output", "residual"))

# What in a family is adapted, and what of its projections that is.
TARGETS = {
    "llama": ["q_proj", "v_proj", "o_proj", "down_proj"],
    "gpt2": ["c_attn"],
    "gpt_neox": ["query_key_value", "dense"],
    "bloom": ["query_key_value"],
    "opt": ["q_proj", "k_proj"],
}


def lora(**changes: Any) -> Any:
    return peft.LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 4, "target_modules": TARGETS["llama"], **changes}
    )


def dora() -> Any:
    return lora(use_dora=True)


def ia3() -> Any:
    return peft.IA3Config(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], feedforward_modules=[])


def whole_modules() -> Any:
    return lora(target_modules=["v_proj"], modules_to_save=["q_proj"])


ADAPTERS: dict[str, Callable[[], Any]] = {
    "lora": lora,
    "dora": dora,
    "ia3": ia3,
    "whole modules": whole_modules,
}


def merged(wrapped: Any) -> Any:
    return copy.deepcopy(wrapped).merge_and_unload()


def compiled(module: Any) -> Any:
    return torch.compile(module, backend="eager")


def compiled_in_place(module: Any) -> Any:
    module.compile(backend="eager")
    return module


def compiled_layers(module: Any) -> Any:
    for index, layer in enumerate(module.model.layers):
        module.model.layers[index] = torch.compile(layer, backend="eager")
    return module


def compiled_parallel(module: Any) -> Any:
    return torch.compile(torch.nn.DataParallel(module), backend="eager")


WRAPPERS = (compiled, compiled_in_place, compiled_layers, torch.nn.DataParallel, compiled_parallel)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_model_gives_what_the_model_itself_gives(wrap: Callable[[Any], Any]) -> None:
    plain = fresh("llama")
    wrapped = wrap(fresh("llama"))
    same_captures(
        iclprobe.capture(wrapped, IDS, EVERYTHING), iclprobe.capture(plain, IDS, EVERYTHING), exactly=True
    )
    assert isinstance(load_model(wrapped).module, type(plain))
    same_weights(wrapped, plain, exactly=True)
    statistics = [averaged(iclprobe.sparsity(model), "value") for model in (wrapped, plain)]
    assert torch.equal(*statistics)
    assert iclprobe.self_check(load_model(wrapped)).held


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_tap_sees_calls_of_the_wrapped_model(wrap: Callable[[Any], Any]) -> None:
    wrapped = wrap(fresh("llama"))
    tokens = torch.tensor(IDS[:1])
    with iclprobe.tap(wrapped, EVERYTHING) as recorder, torch.no_grad():
        wrapped(input_ids=tokens)
    same_captures(recorder.capture(), iclprobe.capture(fresh("llama"), IDS[:1], EVERYTHING), exactly=True)


def test_a_model_is_finetuned_through_its_wrapper() -> None:
    deltas = [
        finetune(
            load_model(model), sequences(2), load_recipe({"parameters": "attn_kv"}), learning_rate=0.1, seed=0
        ).delta
        for model in (fresh("llama"), compiled(fresh("llama")))
    ]
    assert deltas[0].tensors.keys() == deltas[1].tensors.keys()
    assert all(torch.equal(deltas[0].tensors[name], deltas[1].tensors[name]) for name in deltas[0].tensors)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_a_model_of_distributed_training_is_its_module() -> None:
    wrapped: Any = torch.nn.parallel.DistributedDataParallel(fresh("llama"))
    same_captures(iclprobe.capture(wrapped, IDS), iclprobe.capture(fresh("llama"), IDS), exactly=True)
    same_weights(wrapped, fresh("llama"), exactly=True)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_live_adapter_acts_in_captures_and_weights(kind: str) -> None:
    wrapped = live(fresh("llama"), ADAPTERS[kind]())
    wanted = merged(wrapped)
    before = snapshot(wrapped)
    model = load_model(wrapped)
    assert (model.family.name, model.adapter) == ("llama", "default")
    assert model.name == load_model(fresh("llama")).name
    assert torch.equal(logits(model.module, IDS[0]), logits(wrapped, IDS[0]))
    assert (logits(wrapped, IDS[0]) - logits(fresh("llama"), IDS[0])).abs().max() > 0.05
    same_captures(iclprobe.capture(wrapped, IDS, EVERYTHING), iclprobe.capture(wanted, IDS, EVERYTHING))
    same_weights(wrapped, wanted)
    assert_as_it_was(wrapped, before)


@pytest.mark.parametrize("family", TARGETS)
def test_fused_and_transposed_weights_are_read_as_they_act(family: str) -> None:
    transposed = family == "gpt2"
    config = lora(target_modules=TARGETS[family], fan_in_fan_out=transposed)
    wrapped = live(fresh(family), config)
    wanted = merged(wrapped)
    same_weights(wrapped, wanted)
    prompts = tiny_families.prompts(family)[:2]
    plan = CapturePlan(sites=("attention_output", "scores"))
    same_captures(iclprobe.capture(wrapped, prompts, plan), iclprobe.capture(wanted, prompts, plan))


def test_the_tap_sees_calls_of_the_peft_model_once() -> None:
    wrapped = live(fresh("llama"), lora())
    wanted = iclprobe.capture(merged(wrapped), IDS[:1], EVERYTHING)
    tokens = torch.tensor(IDS[:1])
    for call in (
        wrapped,
        wrapped.base_model.model,
        compiled(wrapped),
        peft.PeftModel(fresh("llama"), lora()),
    ):
        given = call if isinstance(call, peft.PeftModel) and call is not wrapped else wrapped
        if given is not wrapped:
            given.load_state_dict(wrapped.state_dict())
            given.eval()
        with iclprobe.tap(given, EVERYTHING) as recorder, torch.no_grad():
            call(input_ids=tokens)
            with recorder.paused():
                call(input_ids=tokens)
        assert len(recorder.recordings) == 1
        same_captures(recorder.capture(), wanted)


def test_switched_off_and_merged_adapters_count_as_they_act() -> None:
    wrapped = live(fresh("llama"), lora())
    with wrapped.disable_adapter():
        same_weights(wrapped, fresh("llama"), exactly=True)
        assert torch.equal(logits(load_model(wrapped).module, IDS[0]), logits(fresh("llama"), IDS[0]))
    wrapped.add_adapter("other", lora(target_modules=["k_proj"], init_lora_weights=False))
    wrapped.set_adapter("other")
    assert load_model(wrapped).adapter == "other"
    same_weights(wrapped, merged(wrapped))
    wrapped.merge_adapter()
    same_weights(wrapped, merged(wrapped))


def test_half_precision_weights_are_summed_without_rounding() -> None:
    wrapped = live(fresh("llama", torch.bfloat16), lora(), spread=0.02)
    read = {
        one.name: one.weight for one in iclprobe.attention_projections(wrapped, matrices=("query", "key"))
    }
    query = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    exact = query.base_layer.weight.float() + query.get_delta_weight("default").float()
    found = read["model.layers.0.self_attn.q_proj.weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact.detach(), atol=1e-6, rtol=0)
    assert read["model.layers.0.self_attn.k_proj.weight"].dtype == torch.bfloat16


def test_a_transformers_model_with_an_injected_adapter_is_one_too() -> None:
    module = fresh("llama")
    module.add_adapter(lora(init_lora_weights=False))
    wanted = peft.PeftModel(fresh("llama"), lora())
    tensors = {f"base_model.model.{name}": tensor for name, tensor in module.state_dict().items()}
    wanted.load_state_dict(tensors)
    same_weights(module, merged(wanted))
    same_captures(iclprobe.capture(module, IDS), iclprobe.capture(merged(wanted), IDS))


LAYERS = "attn_kv", "attn_v@-1", "all", r"regex:self_attn\.[qv]_proj\.weight$", "lora_qv", "lora_v@1"


@pytest.mark.parametrize(
    ("schedule", "parameters"),
    # Layer-causal finetuning trains decoder layers alone.
    [*(("joint", name) for name in LAYERS), *(("layer_causal", name) for name in LAYERS if name != "all")],
)
@pytest.mark.parametrize("kind", ["lora", "ia3", "whole modules"])
def test_finetuning_leaves_an_adapter_as_it_was(parameters: str, kind: str, schedule: str) -> None:
    wrapped = live(fresh("llama"), ADAPTERS[kind]())
    before, kept = snapshot(wrapped), _adapter_of(wrapped)
    recipe = load_recipe({"parameters": parameters, "epochs": 3, "lora_rank": 2, "schedule": schedule})
    model = load_model(wrapped)
    training = sequences(2)
    done = finetune(model, training, recipe, learning_rate=0.02, seed=0)
    assert_as_it_was(wrapped, before)
    assert _adapter_of(wrapped) == kept
    own = dict(model.module.named_parameters())
    assert any((tensor - own[name]).abs().max() > 1e-4 for name, tensor in done.delta.tensors.items())
    assert not [name for name in done.delta.tensors if "lora_" in name or "ia3_" in name]
    with done.delta.applied(model):
        held = copy.deepcopy(wrapped)
    assert_as_it_was(wrapped, before)
    again = finetune(load_model(held), training, recipe, learning_rate=1e-12, seed=0)
    assert again.final_loss == pytest.approx(done.final_loss, abs=5e-5)


@pytest.mark.parametrize("parameters", ["attn_kv", "all", "lora_qv"])
def test_weights_beneath_an_adapter_learn_what_merged_weights_learn(parameters: str) -> None:
    """For plain LoRA W and W + BA have the same gradient, so what is learned must be the same."""
    wrapped = live(fresh("llama"), lora())
    recipe = load_recipe({"parameters": parameters, "epochs": 2, "lora_rank": 2, "include_bias": False})
    beneath, alone = (
        finetune(load_model(model), sequences(2), recipe, learning_rate=0.01, seed=0)
        for model in (wrapped, merged(wrapped))
    )
    if parameters != "lora_qv":
        # Drawn adapters are named after the place they take, which is another one beneath an adapter.
        assert beneath.losses == pytest.approx(alone.losses, abs=1e-4)
    assert beneath.trained_parameters == alone.trained_parameters
    for name, tensor in alone.delta.tensors.items():
        prefix, _, kind = name.rpartition(".")
        inner = beneath.delta.tensors.get(name, beneath.delta.tensors.get(f"{prefix}.base_layer.{kind}"))
        assert inner is not None and inner.shape == tensor.shape


def test_an_adapter_that_reads_its_weight_takes_no_other_beneath_it() -> None:
    wrapped = live(fresh("llama"), dora())
    before = snapshot(wrapped)
    with pytest.raises(UserError, match=r"query projection of layer 0 carries an adapter .* merge it first"):
        finetune(
            load_model(wrapped),
            sequences(2),
            load_recipe({"parameters": "lora_qv"}),
            learning_rate=0.1,
            seed=0,
        )
    assert_as_it_was(wrapped, before)


def test_only_parameters_of_an_adapter_are_no_selection() -> None:
    with pytest.raises(UserError, match=r"'regex:lora_A' select nothing .* model\.layers"):
        finetune(
            load_model(live(fresh("llama"), lora())),
            sequences(2),
            load_recipe({"parameters": "regex:lora_A"}),
            learning_rate=0.1,
            seed=0,
        )


def test_a_comparison_runs_on_a_live_adapter_as_on_its_merged_weights(
    checkpoint: Path, records: Path
) -> None:
    base = load_model(checkpoint)
    wrapped = live(base.module, lora(target_modules=["q_proj", "v_proj"]))
    studies = [
        iclprobe.compare(
            model=LanguageModel(load_model(model).module, base.family, base.tokenizer, "it"),
            task="tone",
            template="Sentence: {text} Label:",
            label_words=("bad", "good"),
            data=str(records),
            shots=4,
            learning_rate=0.1,
            limit=6,
        )
        for model in (wrapped, merged(wrapped))
    ]
    # The change of layer 0's scores is nothing but rounding here, so what direction it has is not of the weights.
    frames = [study.to_pandas().query("measure != 'SimAM of the changes (delta)'") for study in studies]
    found, wanted = (frame.select_dtypes("number").to_numpy(dtype=float) for frame in frames)
    assert found.size > 20
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), atol=2e-3, rtol=0, equal_nan=True)


def test_an_untrained_copy_has_no_adapter_in_its_layers() -> None:
    wrapped = live(fresh("llama"), lora())
    found = untrained_copy(load_model(wrapped), seed=0)
    wanted = untrained_copy(load_model(fresh("llama")), seed=0)
    assert torch.equal(logits(found.module, IDS[0]), logits(wanted.module, IDS[0]))


def test_what_is_no_model_is_told_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"Linear is no transformers model: it has no config"):
        load_model(torch.compile(torch.nn.Linear(2, 2)))  # type: ignore[arg-type]


def same_captures(found: Any, wanted: Any, *, exactly: bool = False) -> None:
    for site in ("attention_output", "scores", "pattern", "mlp_output", "residual"):
        left, right = getattr(found, site), getattr(wanted, site)
        assert (left is None) == (right is None)
        if right is not None:
            limit = 0.0 if exactly else 1e-4 * right.abs().max().item()
            torch.testing.assert_close(left, right, atol=limit, rtol=0)


def same_weights(found: Any, wanted: Any, *, exactly: bool = False) -> None:
    matrices: Any = ("query", "key", "value", "output")
    for left, right in zip(
        iclprobe.attention_projections(found, matrices=matrices),
        iclprobe.attention_projections(wanted, matrices=matrices),
        strict=True,
    ):
        assert (left.layer, left.matrix, left.name) == (right.layer, right.matrix, right.name)
        if exactly:
            assert same_bits(left.weight, right.weight)
        else:
            torch.testing.assert_close(left.weight, right.weight, atol=1e-6, rtol=1e-5)


def _adapter_of(wrapped: Any) -> tuple[Any, ...]:
    """Everything about an adapter that is no tensor."""
    return (
        {name: id(part) for name, part in wrapped.named_modules()},
        {name: (config, str(config)) for name, config in wrapped.peft_config.items()},
        wrapped.active_adapters,
        [
            part.active_adapters
            for part in wrapped.modules()
            if isinstance(part, peft.tuners.tuners_utils.BaseTunerLayer)
        ],
    )
