"""A merged adapter does what PEFT's own does unmerged, and one that does not fit is refused by name."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from made_adapters import change_config, change_tensors, live, logits, write_adapter
from model_snapshot import assert_as_it_was, fresh, snapshot

import iclprobe
from iclprobe import UserError
from iclprobe.models.adapter import refuse_foreign_adapter
from iclprobe.models.delta import delta_from_module
from iclprobe.models.loading import load_model

peft: Any = pytest.importorskip("peft", reason="adapters need the peft extra")

IDS = tiny_families.prompts("llama")[0]
QV = ["q_proj", "v_proj"]


def lora(**changes: Any) -> Any:
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, "target_modules": QV, **changes})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("llama", tmp_path_factory.mktemp("base"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", fresh("llama"), lora())


def saved(name: str, folder: Path) -> Path:
    tiny_families.fresh(name).save_pretrained(folder)
    return folder


CONFIGS: dict[str, tuple[str, Any]] = {
    "lora": ("llama", lora()),
    "rank-stabilised": ("llama", lora(use_rslora=True, lora_alpha=3)),
    "dora": ("llama", lora(use_dora=True)),
    "ranks by layer": (
        "llama",
        lora(rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 7}),
    ),
    "some layers": ("llama", lora(layers_to_transform=[0, 2])),
    "all linear maps": ("llama", lora(target_modules="all-linear")),
    "whole modules": ("llama", lora(modules_to_save=["o_proj", "lm_head"])),
    "embeddings": ("llama", lora(target_modules=["embed_tokens", "q_proj"])),
    "trained tokens": ("llama", lora(trainable_token_indices={"embed_tokens": [5, 7]})),
    "biases": ("opt", lora(bias="lora_only")),
    "fused": ("gpt2", lora(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "fused by heads": ("gpt_neox", lora(target_modules=["query_key_value"])),
    "ia3": (
        "llama",
        peft.IA3Config(
            task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
    ),
    "loha": ("llama", peft.LoHaConfig(task_type="CAUSAL_LM", r=4, target_modules=QV)),
    "norms": ("llama", peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["input_layernorm"])),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_logits_are_those_of_the_unmerged_adapter(name: str, tmp_path: Path) -> None:
    family, config = CONFIGS[name]
    folder = write_adapter(tmp_path / "adapter", fresh(family), copy.deepcopy(config))
    ids = tiny_families.prompts(family)[0]
    wanted = logits(peft.PeftModel.from_pretrained(fresh(family), str(folder)).eval(), ids)
    plain = logits(fresh(family), ids)
    loaded = load_model(saved(family, tmp_path / "base"), adapter=folder)
    found = logits(loaded.module, ids)
    assert (wanted - plain).abs().max() > 0.05
    torch.testing.assert_close(found, wanted, atol=2e-5 * wanted.abs().max().item(), rtol=0)
    assert loaded.adapter == str(folder)
    assert not hasattr(loaded.module, "peft_config")


@pytest.mark.parametrize("name", CONFIGS)
def test_what_can_be_merged_is_not_refused_before_weights_are_there(name: str, tmp_path: Path) -> None:
    family, config = CONFIGS[name]
    folder = write_adapter(tmp_path / "adapter", fresh(family), copy.deepcopy(config))
    module = fresh(family)
    before = snapshot(module)
    refuse_foreign_adapter(module, folder)
    assert_as_it_was(module, before)


def test_an_adapter_is_merged_into_a_copy_of_a_live_model(adapter: Path) -> None:
    module = fresh("llama")
    before = snapshot(module)
    given = load_model(module, adapter=adapter)
    assert_as_it_was(module, before)
    wanted = logits(peft.PeftModel.from_pretrained(fresh("llama"), str(adapter)).eval(), IDS)
    torch.testing.assert_close(logits(given.module, IDS), wanted, atol=2e-4, rtol=0)
    again = load_model(load_model(module), adapter=adapter)
    assert torch.equal(logits(again.module, IDS), logits(given.module, IDS))
    assert again.adapter == given.adapter == str(adapter)
    with pytest.raises(UserError, match=r"carries another: merge that one first"):
        load_model(live(module, lora()), adapter=adapter)


def test_merging_draws_nothing_from_the_global_generator(base: Path, adapter: Path) -> None:
    torch.manual_seed(3)
    load_model(base)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    load_model(base, adapter=adapter)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_rounding_takes_of_a_small_adapter_is_told(
    base: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = write_adapter(tmp_path / "adapter", fresh("llama"), lora(), spread=0.005)
    with pytest.warns(UserWarning, match=r"rounds \d+% of it away .* dtype float32"):
        load_model(base, adapter=folder, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        load_model(base, adapter=folder, dtype="float32")


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("model.model.", "model.model.language_model."): t for name, t in tensors.items()}


def one_more(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    extra = {
        name.replace("layers.0.", "layers.3."): t + 1 for name, t in tensors.items() if "layers.0." in name
    }
    return tensors | extra


def without_a_layer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if ".layers.1." not in name}


def without_a_projection(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if "layers.2.self_attn.v_proj" not in name}


def without_a_factor(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor for name, tensor in tensors.items() if "layers.2.self_attn.v_proj.lora_B" not in name
    }


def of_another_rank(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([tensor, tensor], int("lora_B" in name)) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            renamed,
            r"language_model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight and 11 others .* fit nothing",
        ),
        (
            one_more,
            r"model\.layers\.3\.self_attn\.q_proj\.lora_A\.weight.* fit nothing in this LlamaForCausalLM",
        ),
        (without_a_layer, r"lacks model\.layers\.1\.self_attn\.q_proj\.lora_A\.weight and 3 others"),
        (
            without_a_projection,
            r"lacks model\.layers\.2\.self_attn\.v_proj\.lora_A\.weight and 1 other",
        ),
        (without_a_factor, r"lacks model\.layers\.2\.self_attn\.v_proj\.lora_B\.weight, which"),
        (
            of_another_rank,
            r"q_proj\.lora_A\.weight of adapter .* has the shape \[8, 32\], and .* make it \[4, 32\]",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_model_are_named(
    base: Path, adapter: Path, change: Any, message: str
) -> None:
    change_tensors(adapter, change)
    with pytest.raises(UserError, match=message) as refusal:
        load_model(base, adapter=adapter)
    one_sentence(refusal.value)
    with pytest.raises(UserError, match=message):
        refuse_foreign_adapter(load_model(base).module, adapter)


def test_missing_biases_and_whole_modules_are_missed_too(tmp_path: Path) -> None:
    base = saved("opt", tmp_path / "base")
    folder = write_adapter(tmp_path / "biases", fresh("opt"), lora(bias="lora_only"))
    change_tensors(
        folder,
        lambda held: {name: t for name, t in held.items() if "layers.1.self_attn.q_proj.b" not in name},
    )
    with pytest.raises(
        UserError, match=r"lacks model\.decoder\.layers\.1\.self_attn\.q_proj\.base_layer\.bias"
    ):
        load_model(base, adapter=folder)
    folder = write_adapter(tmp_path / "whole", fresh("opt"), lora(modules_to_save=["fc1"]))
    change_tensors(
        folder, lambda held: {name: t for name, t in held.items() if "layers.1.fc1.weight" not in name}
    )
    with pytest.raises(UserError, match=r"lacks model\.decoder\.layers\.1\.fc1\.weight"):
        load_model(base, adapter=folder)


PROMPTS: dict[str, Any] = {
    "prompt tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix tuning": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "p-tuning": peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_what_stands_in_front_of_the_prompt_is_no_change_of_weights(
    name: str, base: Path, tmp_path: Path
) -> None:
    wrapped = live(fresh("llama"), copy.deepcopy(PROMPTS[name]))
    wrapped.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=rf"is {name}, which puts trained .* changes no weight") as refusal:
        load_model(base, adapter=tmp_path / "adapter")
    one_sentence(refusal.value)
    for use in (load_model, iclprobe.sparsity, lambda module: iclprobe.capture(module, [IDS])):
        with pytest.raises(UserError, match=rf"PeftModelForCausalLM carries .* {name}, which puts"):
            use(wrapped)


def test_an_adapter_that_waits_for_its_tokens_is_refused(base: Path, tmp_path: Path) -> None:
    wrapped = live(fresh("llama"), lora(alora_invocation_tokens=[5, 6]))
    wrapped.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"activated LoRA"):
        load_model(base, adapter=tmp_path / "adapter")
    with pytest.raises(UserError, match=r"activated LoRA"):
        load_model(wrapped)


def test_what_a_newer_peft_wrote_is_refused(base: Path, adapter: Path) -> None:
    change_config(adapter, some_new_option=None, another=False)
    load_model(base, adapter=adapter)
    change_config(adapter, some_new_option="steep")
    with pytest.raises(UserError, match=r"sets some_new_option, which the installed peft .* does not know"):
        load_model(base, adapter=adapter)
    change_config(adapter, peft_type="OF_A_LATER_VERSION")
    with pytest.raises(
        UserError, match=r"is of type 'OF_A_LATER_VERSION', which the installed peft .* pip install -U"
    ):
        load_model(base, adapter=adapter)


TIED: dict[str, dict[str, Any]] = {
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "kept tied": {"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True},
    "whole embedding": {"modules_to_save": ["embed_tokens"]},
    "whole head": {"modules_to_save": ["lm_head"]},
    "tokens": {"trainable_token_indices": {"embed_tokens": [5]}},
}


@pytest.mark.parametrize("name", TIED)
def test_an_adapter_on_a_tied_embedding_is_refused(name: str, tmp_path: Path) -> None:
    base = saved("gemma", tmp_path / "base")
    folder = write_adapter(tmp_path / "adapter", fresh("gemma"), lora(**TIED[name]))
    with pytest.raises(
        UserError, match=r"acts on (model\.embed_tokens|lm_head), which shares its weight"
    ) as refusal:
        load_model(base, adapter=folder)
    one_sentence(refusal.value)


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (folder / "adapter_model.safetensors").write_text(text)


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def pickled_rubbish(folder: Path) -> None:
    without_weights(folder)
    (folder / "adapter_model.bin").write_bytes(b"not a pickle")


def without_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def damaged_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": ')


def config_without_type(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}))


def impossible_rank(folder: Path) -> None:
    change_config(folder, r=0)


def other_modules(folder: Path) -> None:
    change_config(folder, target_modules=["query_key_value"])


def whole_model(folder: Path) -> None:
    shutil.rmtree(folder)
    saved("llama", folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pointer, r"is a Git LFS pointer and no weights"),
        (cut, r"is truncated"),
        (without_weights, r"holds no weights: expected adapter_model\.safetensors or adapter_model\.bin"),
        (pickled_rubbish, r"cannot read .*adapter_model\.bin"),
        (without_config, r"has no adapter_config\.json: give the directory"),
        (damaged_config, r"adapter_config\.json of .* is damaged"),
        (config_without_type, r"names no peft_type"),
        (impossible_rank, r"`r` should be a positive integer"),
        (other_modules, r"query_key_value.* not found in the base model"),
        (whole_model, r"has no adapter_config\.json \(it holds a whole model\)"),
        (shutil.rmtree, r"there is no adapter"),
    ],
)
def test_a_damaged_adapter_is_refused_in_one_sentence(
    base: Path, adapter: Path, damage: Any, message: str
) -> None:
    damage(adapter)
    with pytest.raises(UserError, match=message) as refusal:
        load_model(base, adapter=adapter)
    one_sentence(refusal.value)


def test_an_adapter_given_as_a_model_is_sent_to_its_argument(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"holds a PEFT adapter .* give it as adapter=…"):
        load_model(adapter)
    both = tmp_path / "both"
    shutil.copytree(base, both)
    shutil.copytree(adapter, both, dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"holds a PEFT adapter"):
        load_model(both)
    merged = load_model(both, adapter=both)
    assert torch.equal(logits(merged.module, IDS), logits(load_model(base, adapter=adapter).module, IDS))


def one_sentence(error: Exception) -> None:
    text = str(error)
    assert "\n" not in text and len(text) < 600 and not text.rstrip().endswith((",", ":", "(")), text


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_an_adapter_in_a_live_model_changed_is_a_delta_of_merged_weights(family: str) -> None:
    targets = QV if family == "llama" else ["c_attn"]
    base, config = (
        load_model(fresh(family)),
        lora(target_modules=targets, init_lora_weights=False, fan_in_fan_out=family == "gpt2"),
    )
    carrying = peft.get_peft_model(fresh(family), config).eval()
    delta = delta_from_module(base, carrying)
    adapted = [name for name, _ in base.module.named_parameters() if name.split(".")[-2] in targets]
    assert list(delta.tensors) == [name for name in adapted if name.endswith(".weight")]
    merged = carrying.merge_and_unload()
    for name, tensor in delta.tensors.items():
        torch.testing.assert_close(tensor, merged.get_parameter(name).detach(), rtol=1e-5, atol=1e-6)
