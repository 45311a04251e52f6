"""Attention projections of every family, from every form of checkpoint: they do what the live model does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import own_projections
import pytest
import stored_models
import tiny_families
import torch
from safetensors.torch import load_file, save_file
from shared_material import shared
from tiny_families import FAMILIES

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models import families
from iclprobe.models.families import register_family, resolve_family
from iclprobe.models.loading import load_model
from iclprobe.models.projections import HeadGeometry
from iclprobe.models.weights import MATRICES, attention_projections, open_projections


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten behind it."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))


def saved(name: str, folder: Path) -> Path:
    tiny_families.build(name).save_pretrained(folder)
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    """Change entries of `config.json`; None takes one away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def edit_tensors(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors", **options)


def all_of(place: Any, **options: Any) -> dict[tuple[int, str], Any]:
    found = attention_projections(place, **{"matrices": MATRICES, **options})
    return {(projection.layer, projection.matrix): projection for projection in found}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_projections_of_the_saved_file_make_what_the_live_model_makes(name: str, tmp_path: Path) -> None:
    """Weights and biases are random and none is zero, so nothing can be left out or put elsewhere."""
    model = tiny_families.build(name)
    with open_projections(saved(name, tmp_path), matrices=MATRICES) as file:
        assert file.geometry is not None
        own = own_projections.own_projections(model, file.geometry.key_value_heads)
        assert file.keys == tuple((layer, matrix) for layer in range(len(own)) for matrix in MATRICES)
        for projection in file:
            given, made = own[projection.layer][projection.matrix]
            found = given @ projection.weight.T
            if projection.bias is not None:
                assert (projection.bias != 0).all()
                found = found + projection.bias
            assert found.shape == made.shape
            assert (found - made).abs().max() <= 1e-5 * made.abs().max()
            assert projection.weight.shape == file.shape(projection.layer, projection.matrix)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "codegen", "falcon_grouped", "phi3", "llama_bias"])
def test_a_live_model_and_its_file_are_the_same(name: str, tmp_path: Path) -> None:
    live = all_of(tiny_families.build(name))
    file = all_of(saved(name, tmp_path))
    assert live.keys() == file.keys()
    for key, projection in live.items():
        assert torch.equal(projection.weight, file[key].weight)
        assert (projection.bias is None) == (file[key].bias is None)
        assert projection.bias is None or torch.equal(projection.bias, file[key].bias)


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_a_live_models_weights_are_not_copied(name: str) -> None:
    model = load_model(tiny_families.build(name))
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.module.parameters()}
    for projection in all_of(model).values():
        assert projection.weight.untyped_storage().data_ptr() in storages
        assert not projection.weight.requires_grad


@pytest.mark.parametrize("form", list(stored_models.FORMS))
@pytest.mark.parametrize("name", ["gpt_neox", "gemma"])
def test_every_form_of_storage_gives_the_same_table(name: str, form: str, tmp_path: Path) -> None:
    """A fused, biased model, and one with tied embeddings and a single key head."""
    model = tiny_families.build(name)
    assert model.config.tie_word_embeddings == (name == "gemma")
    stored_models.FORMS[form](model, tmp_path / "stored")
    found, expected = all_of(tmp_path / "stored"), all_of(model)
    assert found.keys() == expected.keys()
    for key, projection in expected.items():
        assert torch.equal(found[key].weight, projection.weight)
        assert found[key].geometry == projection.geometry
        assert projection.bias is None or torch.equal(found[key].bias, projection.bias)


def test_grouped_query_keys_and_values_are_not_expanded(tmp_path: Path) -> None:
    with open_projections(saved("llama", tmp_path)) as file:
        assert file.geometry == HeadGeometry(heads=4, key_value_heads=2, head_width=8)
        assert file.shape(0, "query") == (32, 32)
        assert file.shape(0, "key") == file.shape(0, "value") == (16, 32)
        assert file.read(0, "key").weight.shape == (16, 32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_come_in_the_dtype_they_are_stored_in(dtype: torch.dtype, tmp_path: Path) -> None:
    model: Any = tiny_families.fresh("gpt2")
    model.to(dtype).save_pretrained(tmp_path)
    assert {projection.weight.dtype for projection in attention_projections(tmp_path)} == {dtype}


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "opt", "mpt"])
@pytest.mark.parametrize("prefix", [None, "module.", "policy.base."])
def test_names_are_found_without_the_first_part_and_behind_a_wrapper(
    name: str, prefix: str | None, tmp_path: Path
) -> None:
    """A base model saved by itself (GPT-2 on the hub: `h.0.attn…`), and a wrapper around the model."""
    model: Any = tiny_families.build(name)
    if prefix is None:
        getattr(model, model.base_model_prefix).save_pretrained(tmp_path)
    else:
        tensors = edit_tensors(saved(name, tmp_path))
        save_file({prefix + key: value for key, value in tensors.items()}, tmp_path / "model.safetensors")
    found, expected = all_of(tmp_path), all_of(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key].weight, expected[key].weight) for key in expected)
    assert prefix is None or found[0, "query"].name.startswith(prefix)


@pytest.mark.parametrize(
    ("text", "tower"),
    [
        ("model.language_model.layers", "model.vision_tower.encoder.layers"),
        ("language_model.model.layers", "vision_tower.vision_model.encoder.layers"),
        ("model.layers", "audio_tower.layers"),
        ("model.layers", "mtp.layers"),
    ],
)
def test_the_layers_of_other_towers_are_left_alone(text: str, tower: str, tmp_path: Path) -> None:
    tensors = edit_tensors(saved("llama", tmp_path))
    both = {name.replace("model.layers", text): tensor for name, tensor in tensors.items()}
    others = {
        name.replace("model.layers", tower): torch.zeros_like(tensor) for name, tensor in tensors.items()
    }
    save_file(others | both, tmp_path / "model.safetensors")
    found, expected = all_of(tmp_path), all_of(tiny_families.build("llama"))
    assert all(torch.equal(found[key].weight, expected[key].weight) for key in expected)


def test_a_nested_text_configuration_is_the_one_that_counts(tmp_path: Path) -> None:
    """A multimodal checkpoint keeps its language model's settings one level down."""
    folder = saved("gemma3_text", tmp_path)
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    tensors = edit_tensors(folder)
    renamed = {name.replace("model.", "language_model.model.", 1): value for name, value in tensors.items()}
    save_file(renamed, folder / "model.safetensors")
    edit_config(folder, quantization_config={"quant_method": "fp8"})
    with pytest.raises(UserError, match="its configuration says fp8"):
        open_projections(folder)
    edit_config(folder, quantization_config=None)
    with open_projections(folder) as file:
        assert file.family_name == "gemma3_text"
        assert file.geometry == HeadGeometry(heads=4, key_value_heads=2, head_width=12)
        assert torch.equal(file.read(1, "key").weight, tensors["model.layers.1.self_attn.k_proj.weight"])


def test_two_models_in_one_file_are_refused_rather_than_guessed_at(tmp_path: Path) -> None:
    tensors = edit_tensors(saved("llama", tmp_path))
    both = {f"{who}.{name}": value.clone() for who in ("actor", "critic") for name, value in tensors.items()}
    save_file(both, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"at both actor\.model\.layers and critic\.model\.layers.*pattern"):
        open_projections(tmp_path)
    found = all_of(
        tmp_path, matrices=["value"], pattern={"value": "critic.model.layers.{layer}.self_attn.v_proj.weight"}
    )
    assert torch.equal(found[2, "value"].weight, tensors["model.layers.2.self_attn.v_proj.weight"])


def test_layers_and_matrices_are_chosen(tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path)
    with open_projections(folder, matrices=["value", "query"], layers=[-1, 0, 2]) as file:
        assert file.n_layers == 3
        assert file.keys == ((0, "query"), (0, "value"), (2, "query"), (2, "value"))
        with pytest.raises(UserError, match="key projection of layer 0 was not asked for"):
            file.read(0, "key")


def test_a_pass_reads_each_stored_tensor_once_and_none_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclprobe.models.tensor_source import TensorSource

    read: list[str] = []
    original = TensorSource.read
    monkeypatch.setattr(TensorSource, "read", lambda self, name: (read.append(name), original(self, name))[1])
    assert len(all_of(saved("gpt_neox", tmp_path), layers=[0, 1])) == 8
    attention = "gpt_neox.layers.{}.attention.{}.{}"
    assert read == [
        attention.format(layer, module, part)
        for layer in (0, 1)
        for module in ("query_key_value", "dense")
        for part in ("weight", "bias")
    ]


# Files of no known family


def plain_file(folder: Path, *, config: dict[str, Any] | None = None, **shapes: tuple[int, ...]) -> Path:
    """A checkpoint with two layers of home-made names; `config` as its `config.json`."""
    tensors = {
        f"net.{layer}.att.{part}": torch.randn(shape, generator=torch.Generator().manual_seed(layer))
        for layer in (0, 1)
        for part, shape in ({"wq": (8, 8), "wk": (4, 8), "wv": (4, 8), "wo": (8, 8)} | shapes).items()
    }
    save_file(tensors, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


PATTERN: Any = {"query": "net.{layer}.att.wq", "key": "net.{layer}.att.wk", "value": "net.{layer}.att.wv"}


def test_a_bare_file_is_read_by_a_pattern(tmp_path: Path) -> None:
    path = plain_file(tmp_path)
    with open_projections(path, pattern=PATTERN) as file:
        assert file.family_name is None and file.geometry is None and file.n_layers == 2
        assert file.keys == tuple((layer, matrix) for layer in (0, 1) for matrix in ("query", "key", "value"))
        assert torch.equal(file.read(1, "key").weight, load_file(path)["net.1.att.wk"])
        assert file.read(1, "key").name == "net.1.att.wk"


@pytest.mark.parametrize(("heads", "expected"), [(4, HeadGeometry(4, 2, 2)), (3, None)])
def test_head_counts_of_an_unknown_family_are_believed_if_they_fit(
    heads: int, expected: HeadGeometry | None, tmp_path: Path
) -> None:
    config = {"model_type": "ours", "hidden_size": 8, "num_attention_heads": heads, "num_key_value_heads": 2}
    path = plain_file(tmp_path, config=config)
    with open_projections(path, pattern=PATTERN) as file:
        assert file.geometry == expected


def test_a_pattern_reads_a_fused_weight_when_the_family_says_how_it_is_laid_out(tmp_path: Path) -> None:
    folder = edit_config(saved("gpt_neox", tmp_path), model_type="ours")
    name = "gpt_neox.layers.{layer}.attention.query_key_value.weight"
    pattern: Any = dict.fromkeys(("query", "key", "value"), name)
    with pytest.raises(UserError, match=r"one tensor .*query_key_value\.weight, for several matrices"):
        open_projections(folder, pattern=pattern)
    found = all_of(folder, matrices=["query", "key", "value"], pattern=pattern, family="gpt_neox")
    expected = all_of(tiny_families.build("gpt_neox"), matrices=["query", "key", "value"])
    assert all(torch.equal(found[key].weight, expected[key].weight) for key in expected)


def test_another_familys_row_can_stand_in(tmp_path: Path) -> None:
    folder = edit_config(saved("llama", tmp_path), model_type="ours")
    with pytest.raises(UserError, match=r"'ours' has no row .*register_family.*or name its tensors"):
        open_projections(folder)
    found, expected = all_of(folder, family="llama"), all_of(tiny_families.build("llama"))
    assert all(torch.equal(found[key].weight, expected[key].weight) for key in expected)
    with pytest.raises(UserError, match="'lama' has no row"):
        open_projections(folder, family="lama")


def test_a_registered_row_is_enough(own_table: None, tmp_path: Path) -> None:
    folder = edit_config(saved("gpt_neox", tmp_path), model_type="ours")
    register_family(replace(resolve_family(tiny_families.build("gpt_neox").config), name="ours"))
    found, expected = all_of(folder), all_of(tiny_families.build("gpt_neox"))
    assert all(torch.equal(found[key].weight, expected[key].weight) for key in expected)


def test_without_a_configuration_separate_weights_need_only_their_family(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(
        UserError, match=r"without a config\.json, so its family is unknown: .*pattern.* family"
    ):
        open_projections(folder)
    with open_projections(folder, family="llama") as file:
        assert file.geometry is None
        assert file.shape(0, "key") == (16, 32)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "falcon"])
def test_without_a_configuration_nobody_can_split_a_fused_weight(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds several matrices, and only a config\.json beside it"):
        open_projections(folder, family=name)


# What is refused


@pytest.mark.parametrize("layer", [3, -4])
def test_an_unknown_layer_is_named(layer: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"layer {layer} was asked for, but .* has 3: take 0 to 2, or -1"):
        open_projections(saved("llama", tmp_path), layers=[0, layer])


def test_an_unknown_matrix_or_a_wrong_pattern_is_named(tmp_path: Path) -> None:
    path = plain_file(tmp_path)
    wrong: Any = "queries"
    with pytest.raises(UserError, match="no attention matrix 'queries': use query, key, value, output"):
        open_projections(path, matrices=[wrong])
    with pytest.raises(UserError, match="names no matrix 'queries'"):
        open_projections(path, pattern={wrong: "net.{layer}.att.wq"})
    with pytest.raises(UserError, match="does not say where the layer's number stands"):
        open_projections(path, pattern={"query": "net.0.att.wq"})
    with pytest.raises(UserError, match=r"called net\.\{layer\}\.q; its tensors are called net\.0\.att\.wk"):
        open_projections(path, pattern={"query": "net.{layer}.q"})
    with pytest.raises(UserError, match="pattern names no value tensor"):
        open_projections(path, pattern={each: PATTERN[each] for each in ("query", "key")})


def test_tensors_that_are_not_where_the_row_looks_are_named(tmp_path: Path) -> None:
    path = plain_file(tmp_path, config=json.loads(FAMILIES["llama"]().to_json_string()))
    with pytest.raises(
        UserError, match=r"no attention weights at model\.layers\.0\.self_attn\.q_proj\.weight.*net\.0"
    ):
        open_projections(path)


def test_a_missing_weight_is_not_passed_over(tmp_path: Path) -> None:
    tensors = edit_tensors(saved("llama", tmp_path))
    del tensors["model.layers.2.self_attn.k_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="holds no key weight of layer 2"):
        open_projections(tmp_path)
    assert len(all_of(tmp_path, layers=[0, 1])) == 8


@pytest.mark.parametrize(
    ("name", "changes"),
    [("llama", {"num_attention_heads": 8, "num_key_value_heads": 8}), ("gpt_neox", {"hidden_size": 128})],
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = edit_config(saved(name, tmp_path), **changes, head_dim=None)
    with pytest.raises(UserError, match=r"weight of .* has shape \(.*\), which does not fit"):
        open_projections(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2])
def test_quantised_tensors_are_refused_by_name(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = edit_tensors(saved("llama", tmp_path))
    name = "model.layers.1.self_attn.v_proj.weight"
    save_file(tensors | {name: tensors[name].to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"quantised weights \({name} is torch\.{str(dtype)[6:]}\)"):
        open_projections(tmp_path)
    assert len(all_of(tmp_path, layers=[0])) == 4


def test_weights_taken_apart_by_quantisation_are_refused_as_such(tmp_path: Path) -> None:
    """GPTQ and AWQ keep no tensor called weight."""
    tensors = edit_tensors(saved("llama", tmp_path))
    apart = {
        name.replace("_proj.weight", "_proj.qweight"): value.to(torch.int32)
        for name, value in tensors.items()
    }
    save_file(apart, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"quantised weights \(such as .*qweight\)"):
        open_projections(tmp_path)


def test_a_configuration_that_speaks_of_quantisation_is_believed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    folder = edit_config(saved("llama", tmp_path), quantization_config=settings)
    with pytest.raises(UserError, match=r"quantised weights \(its configuration says bitsandbytes\)"):
        open_projections(folder)
    # GPT-OSS is published with quantised experts and plain attention.
    settings = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    assert len(all_of(edit_config(folder, quantization_config=settings))) == 12


def test_a_configuration_of_wrong_types_is_refused(tmp_path: Path) -> None:
    folder = edit_config(saved("llama", tmp_path), num_attention_heads="many")
    with pytest.raises(
        UserError, match=r"config\.json of .* cannot be used .*num_attention_heads.*correct it"
    ):
        open_projections(folder)


def test_a_refused_checkpoint_leaves_no_file_open(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        pytest.skip("this system does not list open files in /proc")
    with pytest.raises(UserError):
        open_projections(folder, layers=[9])
    with open_projections(folder) as file:
        file.read(0, "query")
        assert any(_points_at(each, folder) for each in open_files.iterdir())
    assert not any(_points_at(each, folder) for each in open_files.iterdir())


def _points_at(descriptor: Path, folder: Path) -> bool:
    try:
        return folder in descriptor.readlink().parents
    except FileNotFoundError:
        return False


# Real checkpoints


@pytest.mark.parametrize(("name", "layers", "width"), [("stories260k", 5, 64), ("babyllama-tok105", 5, 128)])
def test_real_weights_are_read(name: str, layers: int, width: int) -> None:
    with open_projections(shared(f"models/{name}")) as file:
        assert file.n_layers == layers
        assert file.shape(0, "query") == (width, width)
        assert all(projection.weight.isfinite().all() for projection in file)


def test_the_embedded_model_is_read_by_name_and_step() -> None:
    from iclprobe.models.pocket import pocket_steps

    final = all_of("pocket")
    assert final[0, "query"].geometry is not None
    step = str(pocket_steps()[-1])
    with open_projections("pocket", revision=step) as file:
        assert file.label == f"pocket@{step}"
        assert torch.equal(file.read(0, "key").weight, final[0, "key"].weight)
    with pytest.raises(UserError, match="no step 7"):
        open_projections("pocket", revision="7")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_tensors_go_to_the_device(name: str, tmp_path: Path) -> None:
    there, here = all_of(saved(name, tmp_path), device="cuda"), all_of(tmp_path)
    for key, projection in there.items():
        assert projection.weight.device.type == "cuda"
        assert torch.equal(projection.weight.cpu(), here[key].weight)


def test_a_configuration_that_counts_fewer_layers_than_are_stored_is_refused(tmp_path: Path) -> None:
    model: Any = tiny_families.fresh("llama")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"layers and its config.json counts 1"):
        iclprobe.sparsity(str(tmp_path))
