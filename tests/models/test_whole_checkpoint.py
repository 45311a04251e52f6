"""The weights that run are the checkpoint's, all of them and each once, or the checkpoint is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored_models
import tiny_families
import torch
from made_tokenizers import word_tokenizer
from safetensors.torch import load_file, save_file
from tiny_families import FAMILIES
from weight_tables import averaged

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models.loading import load_model

IDS = torch.tensor([[1, 5, 9, 12, 33, 44]])
TOKENIZER = word_tokenizer("a b c")
Tensors = dict[str, torch.Tensor]


def saved(name: str, folder: Path) -> tuple[Path, Tensors]:
    """A tiny checkpoint on disk, and its tensors."""
    tiny_families.build(name).save_pretrained(folder)
    return folder, load_file(folder / "model.safetensors")


def rewrite(folder: Path, tensors: Tensors) -> Path:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@torch.no_grad()
def logits_of(place: Path) -> torch.Tensor:
    return load_model(place, tokenizer=TOKENIZER).module(IDS).logits


@torch.no_grad()
def logits_of_live(name: str) -> torch.Tensor:
    return tiny_families.build(name)(IDS).logits


def assert_same(found: torch.Tensor, whole: torch.Tensor) -> None:
    """Logits of the same weights; where they lie in memory moves the last bits."""
    assert (found - whole).abs().max() <= 1e-6 * whole.abs().max()


def refuses_or_agrees(folder: Path, whole: torch.Tensor) -> bool:
    """Whether loading refuses in a sentence; if it does not, the logits are the whole checkpoint's."""
    try:
        found = logits_of(folder)
    except UserError as error:
        assert len(str(error)) - len(str(folder)) < 300
        return True
    assert_same(found, whole)
    return False


# What is whole passes


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_saved_family_loads_as_it_was(name: str, tmp_path: Path) -> None:
    assert_same(logits_of(saved(name, tmp_path)[0]), logits_of_live(name))


@pytest.mark.parametrize("form", [form for form in stored_models.FORMS if form != "under_another_name"])
@pytest.mark.parametrize("name", ["gemma", "mixtral", "gpt2"])
def test_every_form_of_storage_loads_as_it_was(form: str, name: str, tmp_path: Path) -> None:
    """Tied and untied heads; pickles hold a tied head twice."""
    stored_models.FORMS[form](tiny_families.build(name), tmp_path)
    assert_same(logits_of(tmp_path), logits_of_live(name))


@pytest.mark.parametrize("name", ["gpt2", "gemma", "opt", "bloom", "mpt"])
def test_a_base_model_saved_by_itself_has_its_tied_head(name: str, tmp_path: Path) -> None:
    model: Any = tiny_families.build(name)
    getattr(model, model.base_model_prefix).save_pretrained(tmp_path)
    assert_same(logits_of(tmp_path), logits_of_live(name))


def test_half_precision_is_loaded_as_the_numbers_it_holds(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    rewrite(folder, {key: value.half() for key, value in tensors.items()})
    model = load_model(folder, tokenizer=TOKENIZER).module
    assert all(torch.equal(value, tensors[key].half().float()) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "surplus"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gptj", "transformer.h.0.attn.bias"),
        ("gptj", "transformer.h.0.attn.masked_bias"),
        ("gpt_neo", "transformer.h.1.attn.attention.masked_bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
        ("codegen", "transformer.h.0.attn.causal_mask"),
        ("gpt2", "h.0.attn.bias"),
        ("xglm", "model.embed_positions.weights"),
        ("opt", "model.decoder.version"),
        ("llama", "v_head.summary.weight"),
        ("llama", "vision_tower.encoder.layers.0.self_attn.q_proj.weight"),
    ],
)
def test_computed_buffers_and_parts_beside_the_language_model_are_left_out(
    name: str, surplus: str, tmp_path: Path
) -> None:
    folder, tensors = saved(name, tmp_path)
    rewrite(folder, tensors | {surplus: torch.ones(3)})
    assert_same(logits_of(folder), logits_of_live(name))


def test_a_stored_head_runs_although_the_configuration_ties_it(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    edit_config(folder, tie_word_embeddings=True)
    assert_same(logits_of(folder), logits_of_live("llama"))
    del tensors["lm_head.weight"]
    head = load_model(rewrite(folder, tensors), tokenizer=TOKENIZER).module.get_output_embeddings()
    assert head is not None and torch.equal(head.weight, tensors["model.embed_tokens.weight"])


# What is not is refused by name

_RENAMINGS: tuple[Callable[[str], str | None], ...] = (
    lambda name: None,
    lambda name: f"{name}_old",
    lambda name: f"old.{name}",
    lambda name: f"model.{name}",
    lambda name: f"module.{name}",
    lambda name: f"_orig_mod.{name}",
    lambda name: name.split(".", 1)[-1],
    lambda name: re.sub(r"\.(\d+)\.", lambda found: f".{int(found[1]) + 5}.", name, count=1),
    lambda name: re.sub(r"^(.*)\.\d+\.", r"\1.old.", name),
    lambda name: re.sub(r"^(.*)\.(\d+)\.", lambda found: f"{found[1]}.{int(found[2]) + 5}.", name),
)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_no_tensor_is_dropped_or_renamed_unseen(name: str, tmp_path: Path) -> None:
    folder, tensors = saved(name, tmp_path)
    whole = logits_of_live(name)
    keys = [key for key in tensors if ".0." not in key and ".2." not in key.partition("experts")[0]]
    for index, key in enumerate(keys):
        rename = _RENAMINGS[index % len(_RENAMINGS)]
        rest = {other: value for other, value in tensors.items() if other != key}
        renamed = rename(key)
        rewrite(folder, rest if renamed is None else rest | {renamed: tensors[key]})
        refused = refuses_or_agrees(folder, whole)
        assert refused or renamed is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("llama", "gpt2", "mixtral", "qwen3_moe", "gpt_neox", "opt"),
        *("bloom", "falcon", "gemma2", "phi", "mpt", "gpt_oss"),
    ],
)
def test_every_tensor_dropped_or_renamed_in_turn_is_refused_or_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    folder, tensors = saved(name, tmp_path)
    whole = logits_of_live(name)
    for index, (key, value) in enumerate(tensors.items()):
        rest = {other: kept for other, kept in tensors.items() if other != key}
        assert refuses_or_agrees(rewrite(folder, rest), whole)
        renamed = str(_RENAMINGS[1 + index % (len(_RENAMINGS) - 1)](key))
        refuses_or_agrees(rewrite(folder, rest | {renamed: value}), whole)


def test_missing_tensors_are_named_and_counted(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    rewrite(folder, {key: value for key, value in tensors.items() if ".layers.1." not in key})
    with pytest.raises(
        UserError,
        match=r"not those of its config\.json \(LlamaForCausalLM\): 9 of 30 tensors missing "
        r"\(model\.layers\.1\.input_layernorm\.weight, model\.layers\.1\.mlp\.down_proj\.weight, …\)",
    ):
        load_model(folder, tokenizer=TOKENIZER)


def test_a_base_model_without_the_head_of_its_own_is_refused(tmp_path: Path) -> None:
    model: Any = tiny_families.build("llama")
    model.model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"1 of 30 tensors missing \(lm_head\.weight\)"):
        load_model(tmp_path, tokenizer=TOKENIZER)


@pytest.mark.parametrize(
    "surplus",
    [
        "model.layers.3.self_attn.q_proj.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "lm_head.0.weight",
        "lm_head.bias",
        "score.weight",
        "policy.model.layers.0.self_attn.q_proj.weight",
    ],
)
def test_tensors_without_a_place_are_named(surplus: str, tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    rewrite(folder, tensors | {surplus: torch.ones(3)})
    with pytest.raises(UserError, match=rf"1 without a place \({re.escape(surplus)}\)"):
        load_model(folder, tokenizer=TOKENIZER)


@pytest.mark.parametrize("copy", ["norm.weight", "model.model.norm.weight", "_orig_mod.model.norm.weight"])
def test_two_tensors_for_one_place_are_named(copy: str, tmp_path: Path) -> None:
    """One of them would be taken, and which one depends on the alphabet."""
    folder, tensors = saved("llama", tmp_path)
    rewrite(folder, tensors | {copy: tensors["model.norm.weight"] + 1})
    with pytest.raises(UserError, match=rf"(two tensors for|twice).*{re.escape(copy)}"):
        load_model(folder, tokenizer=TOKENIZER)


def test_a_head_under_its_old_and_its_new_name_is_refused(tmp_path: Path) -> None:
    folder, tensors = saved("gpt_neox", tmp_path)
    rewrite(folder, tensors | {"lm_head.weight": tensors["embed_out.weight"] + 1})
    with pytest.raises(
        UserError, match=r"two tensors for lm_head\.weight, embed_out\.weight and lm_head\.weight"
    ):
        load_model(folder, tokenizer=TOKENIZER)


def test_other_shapes_are_named_with_both(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    rows = tensors["model.embed_tokens.weight"]
    rewrite(folder, tensors | {"model.embed_tokens.weight": torch.cat([rows, rows[:1]])})
    with pytest.raises(UserError, match=r"model\.embed_tokens\.weight \[98, 32\] in place of \[97, 32\]"):
        load_model(folder, tokenizer=TOKENIZER)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_codes_are_not_taken_for_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(folder, tensors | {name: tensors[name].to(dtype)})
    with pytest.raises(UserError, match=rf"holds {re.escape(name)} as {dtype}.*quantised"):
        load_model(folder, tokenizer=TOKENIZER)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_an_expert_never_takes_the_place_of_another(name: str, tmp_path: Path) -> None:
    """Experts are stacked in the order of their names, so a gap or a front of its own would move them."""
    folder, tensors = saved(name, tmp_path)
    renumbered = {re.sub(r"experts\.1\.", "experts.7.", key): value for key, value in tensors.items()}
    with pytest.raises(UserError, match=r"does not number .*experts\.\*.* from 0 to 2 \(see 1, 7\)"):
        load_model(rewrite(folder, renumbered), tokenizer=TOKENIZER)
    one_in_front = {f"{'_orig_mod.' * ('experts.1.' in key)}{key}": value for key, value in tensors.items()}
    with pytest.raises(UserError, match="does not number"):
        load_model(rewrite(folder, one_in_front), tokenizer=TOKENIZER)


def test_a_dropped_shard_is_named(tmp_path: Path) -> None:
    stored_models.sharded(tiny_families.build("llama"), tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks the shard model-2\.safetensors"):
        load_model(tmp_path, tokenizer=TOKENIZER)


def test_a_tensor_in_two_shards_is_refused_by_everything_that_reads_it(tmp_path: Path) -> None:
    """transformers reads shards whole and would take the later copy, whatever the index says."""
    stored_models.sharded(tiny_families.build("llama"), tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    name, other = (f"model.layers.0.self_attn.{matrix}_proj.weight" for matrix in "qv")
    assert index[name] != index[other]
    stale = {name: load_file(tmp_path / index[name])[name] + 1}
    save_file(load_file(tmp_path / index[other]) | stale, tmp_path / index[other], metadata={"format": "pt"})
    for read in (lambda: load_model(tmp_path, tokenizer=TOKENIZER), lambda: iclprobe.sparsity(str(tmp_path))):
        with pytest.raises(UserError, match=rf"{index[other]} of .* holds {re.escape(name)}, which"):
            read()


def test_an_adapter_inside_a_models_directory_does_not_run_unasked(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model: Any = tiny_families.fresh("llama")
    model.save_pretrained(tmp_path)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a PEFT adapter"):
        load_model(tmp_path, tokenizer=TOKENIZER)


# Wrappers


def _layers_wrapped(name: str) -> str:
    inner = "_fsdp_wrapped_module._checkpoint_wrapped_module."
    return "_fsdp_wrapped_module." + re.sub(r"((?:layers|h)\.\d+\.)", rf"\1{inner}", name)


WRAPPERS: dict[str, Callable[[str], str]] = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "parallel": lambda name: f"module.{name}",
    "parallel and compiled": lambda name: f"module._orig_mod.{name}",
    "compiled and parallel": lambda name: f"_orig_mod.module.{name}",
    "averaged": lambda name: f"module.module.{name}",
    "layer by layer": _layers_wrapped,
    "every projection": lambda name: re.sub(r"\.(\w+)$", r"._orig_mod.\1", name),
    "lightning": lambda name: f"model.{name}",
    "lightning, compiled": lambda name: f"model._orig_mod.{name}",
}


@pytest.mark.parametrize("wrapper", list(WRAPPERS))
@pytest.mark.parametrize("name", ["gpt2", "qwen3_moe"])
def test_a_wrapped_checkpoint_is_the_bare_one_to_all_that_read_weights(
    name: str, wrapper: str, tmp_path: Path
) -> None:
    folder, tensors = saved(name, tmp_path / "saved")
    bare = averaged(iclprobe.sparsity(str(folder)), "value")
    rewrite(folder, {WRAPPERS[wrapper](key): value for key, value in tensors.items()})
    model = load_model(folder, tokenizer=TOKENIZER)
    with torch.no_grad():
        assert_same(model.module(IDS).logits, logits_of_live(name))
    assert torch.equal(averaged(iclprobe.sparsity(str(folder)), "value"), bare)
    projections = {(found.layer, found.matrix): found for found in iclprobe.attention_projections(folder)}
    for live in iclprobe.attention_projections(model):
        stored = projections.pop((live.layer, live.matrix))
        assert torch.equal(stored.weight, live.weight)
        assert (stored.bias is None) == (live.bias is None)
    assert not projections
    model.module.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == tensors.keys()


def test_what_an_average_counts_is_no_weight(tmp_path: Path) -> None:
    averaging = torch.optim.swa_utils.AveragedModel(tiny_families.fresh("llama"))
    folder, _ = saved("llama", tmp_path)
    rewrite(folder, {key: value.clone() for key, value in averaging.state_dict().items()})
    assert_same(logits_of(folder), logits_of_live("llama"))


def test_a_wrapped_and_a_bare_copy_are_refused_by_everything_that_reads_them(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    name = "model.layers.0.self_attn.v_proj.weight"
    rewrite(folder, tensors | {f"module.{name}": tensors[name] + 1})
    for read in (lambda: load_model(folder, tokenizer=TOKENIZER), lambda: iclprobe.sparsity(str(folder))):
        with pytest.raises(UserError, match=rf"holds {re.escape(name)} twice"):
            read()


def test_a_pattern_names_tensors_with_or_without_their_wrapper(tmp_path: Path) -> None:
    folder, tensors = saved("llama", tmp_path)
    rewrite(folder, {f"_orig_mod.{key}": value for key, value in tensors.items()})
    for front in ("_orig_mod.", ""):
        pattern: Any = {"query": front + "model.layers.{layer}.self_attn.q_proj.weight"}
        (first, *_) = iclprobe.attention_projections(folder, pattern=pattern, matrices=["query"])
        assert first.name == "_orig_mod.model.layers.0.self_attn.q_proj.weight"
