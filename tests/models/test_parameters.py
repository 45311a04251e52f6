"""Which parameters a selection trains, in separate and in fused layouts."""

from __future__ import annotations

import pytest
import tiny_families
import torch
from model_snapshot import fresh

from iclprobe.errors import UserError
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.parameters import TrainedSlice, count_parameters, select_parameters


def _model(name: str) -> LanguageModel:
    return load_model(tiny_families.build(name))


def _names(model: LanguageModel, selection: str, include_bias: bool = True) -> list[str]:
    return [piece.name for piece in select_parameters(model, selection, include_bias)]


def test_keys_and_values_of_separate_projections_are_whole_parameters():
    model = _model("llama")
    slices = select_parameters(model, "attn_kv")
    assert [piece.name for piece in slices] == [
        f"model.layers.{layer}.self_attn.{projection}_proj.weight"
        for layer in range(3)
        for projection in "kv"
    ]
    assert all(piece.rows is None for piece in slices)


def test_biases_belong_to_keys_and_values_unless_excluded():
    model = _model("opt")
    with_bias = _names(model, "attn_kv")
    without = _names(model, "attn_kv", include_bias=False)
    assert [name for name in with_bias if name.endswith("weight")] == without
    assert [name.replace("bias", "weight") for name in with_bias if name.endswith("bias")] == without


def test_gpt2_trains_the_key_and_value_columns_of_its_transposed_weight():
    weight, bias = select_parameters(_model("gpt2"), "attn_kv@0")
    assert weight.rows is not None and bias.rows is not None
    assert (weight.name, weight.dim, weight.rows.tolist()) == (
        "transformer.h.0.attn.c_attn.weight",
        1,
        list(range(32, 96)),
    )
    assert (bias.name, bias.dim, bias.rows.tolist()) == (
        "transformer.h.0.attn.c_attn.bias",
        0,
        list(range(32, 96)),
    )


def test_phi3_trains_the_rows_after_those_of_its_queries():
    (weight,) = select_parameters(_model("phi3"), "attn_kv@1")
    assert weight.rows is not None
    # Four query heads and two key-value heads of width 8.
    assert (weight.name, weight.dim) == ("model.layers.1.self_attn.qkv_proj.weight", 0)
    assert weight.rows.tolist() == list(range(32, 64))


def test_gpt_neox_trains_the_last_two_thirds_of_every_head():
    weight, _ = select_parameters(_model("gpt_neox"), "attn_kv@2")
    assert weight.rows is not None
    by_hand = [48 * head + offset for head in range(4) for offset in range(16, 48)]
    assert weight.rows.tolist() == by_hand


def test_one_layer_counts_from_either_end():
    model = _model("llama")
    assert (
        _names(model, "attn_v@-1") == _names(model, "attn_v@2") == ["model.layers.2.self_attn.v_proj.weight"]
    )
    weight, bias = select_parameters(_model("gpt2"), "attn_v@-1")
    assert weight.rows is not None and weight.rows.tolist() == list(range(64, 96))
    assert bias.name == "transformer.h.2.attn.c_attn.bias"


def test_all_three_projections_of_a_fused_weight_are_the_whole_weight():
    assert all(piece.rows is None for piece in select_parameters(_model("phi3"), "attn_qkv"))


def test_all_takes_every_parameter_and_tied_ones_once():
    model = _model("gpt2")
    assert _names(model, "all") == [name for name, _ in model.module.named_parameters()]
    assert "lm_head.weight" not in _names(model, "all")
    assert _names(model, "regex:lm_head|wte") == _names(model, "lm_head") == ["transformer.wte.weight"]


def test_a_regular_expression_is_searched_in_the_names():
    expected = ["model.layers.1.mlp.gate_proj.weight"]
    assert _names(_model("llama"), "regex:layers.1.mlp.gate") == expected
    assert _names(_model("llama"), r"layers\.1\..*gate") == expected


def test_trained_numbers_are_counted():
    model = _model("gpt2")
    assert count_parameters(model, select_parameters(model, "attn_kv")) == 3 * (32 * 64 + 64)
    assert count_parameters(model, select_parameters(model, "all")) == sum(
        parameter.numel() for parameter in model.module.parameters()
    )


def test_a_slice_reads_and_writes_its_rows_and_no_others():
    piece = TrainedSlice("w", torch.tensor([0, 2]), dim=1)
    tensor = torch.arange(8.0, dtype=torch.float16).view(2, 4)
    assert piece.read(tensor).tolist() == [[0, 2], [4, 6]]
    piece.write(tensor, torch.tensor([[10.0, 12.0], [14.0, 16.0]]))
    assert tensor.tolist() == [[10, 1, 12, 3], [14, 5, 16, 7]]


def test_a_selection_of_nothing_is_refused_with_names_that_exist():
    with pytest.raises(UserError, match=r"'attn_vv' select nothing.*model\.embed_tokens\.weight"):
        select_parameters(_model("llama"), "attn_vv")
    with pytest.raises(UserError, match="no regular expression"):
        select_parameters(_model("llama"), "regex:(")


@pytest.mark.parametrize("layer", [3, -4, 100])
def test_a_layer_that_does_not_exist_is_refused(layer: int):
    with pytest.raises(UserError, match=rf"'attn_v@{layer}'.*it has 3, so take 0 to 2"):
        select_parameters(_model("llama"), f"attn_v@{layer}")


def test_quantised_weights_are_refused():
    model = load_model(tiny_families.fresh("llama"))
    projection = model.parts[0].attention.get_submodule("k_proj")
    projection.weight = torch.nn.Parameter(torch.zeros(16, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UserError, match=r"quantised weights .*torch\.int8"):
        select_parameters(model, "attn_kv")
    assert "model.layers.0.self_attn.v_proj.weight" in _names(model, "v_proj")
    model.module.config.quantization_config = {"quant_method": "any"}
    with pytest.raises(UserError, match="quantised weights"):
        select_parameters(model, "v_proj")


def test_offloaded_weights_are_refused():
    model = load_model(fresh("llama").to("meta"))
    with pytest.raises(UserError, match="offloaded"):
        select_parameters(model, "attn_kv")
